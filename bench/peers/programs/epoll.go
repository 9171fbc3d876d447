// Holds all connections in one goroutine with epoll, through package syscall, as event-loop libraries for Go
// (gnet, evio) do.
package main

import (
	"log"
	"os"
	"strconv"
	"syscall"
)

func main() {
	port, err := strconv.Atoi(os.Args[1])
	check(err)
	listener, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	check(err)
	check(syscall.SetsockoptInt(listener, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
	check(syscall.Bind(listener, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}))
	check(syscall.Listen(listener, 4096))
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	check(err)
	check(watch(epoll, listener, syscall.EPOLLIN))

	events := make([]syscall.EpollEvent, 512)
	dropped := make([]byte, 65536)
	for {
		count, err := syscall.EpollWait(epoll, events, -1)
		if err == syscall.EINTR {
			continue
		}
		check(err)
		for _, event := range events[:count] {
			if int(event.Fd) == listener {
				acceptAll(listener, epoll)
			} else {
				receive(int(event.Fd), dropped)
			}
		}
	}
}

// Accepts every queued connection, or as many as the descriptor limit allows.
func acceptAll(listener, epoll int) {
	for {
		fd, _, err := syscall.Accept4(listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err == syscall.EINTR || err == syscall.ECONNABORTED {
			continue
		}
		if err != nil {
			return
		}
		if watch(epoll, fd, syscall.EPOLLIN|syscall.EPOLLRDHUP) != nil {
			syscall.Close(fd)
		}
	}
}

func receive(fd int, dropped []byte) {
	for {
		count, err := syscall.Read(fd, dropped)
		if count > 0 || err == syscall.EINTR {
			continue
		}
		if err != syscall.EAGAIN {
			syscall.Close(fd)
		}
		return
	}
}

func watch(epoll, fd int, events uint32) error {
	return syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
