// An echo server on gorilla/websocket, with a goroutine for each connection, as its examples show. It answers the
// orders that harness/child.mjs sends as lines of JSON on the socket in NODE_CHANNEL_FD.
package main

import (
	"bufio"
	"encoding/json"
	"log"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/gorilla/websocket"
)

// A client, whose messages one goroutine writes at a time.
type client struct {
	sync.Mutex
	*websocket.Conn
}

var (
	clients = map[*client]struct{}{}
	lock    sync.Mutex
)

func main() {
	upgrader := websocket.Upgrader{EnableCompression: os.Args[1] == "true"}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go answer(listener.Addr().(*net.TCPAddr).Port)
	check(http.Serve(listener, http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		connection, err := upgrader.Upgrade(response, request, nil)
		if err == nil {
			echo(&client{Conn: connection})
		}
	})))
}

func echo(connection *client) {
	lock.Lock()
	clients[connection] = struct{}{}
	lock.Unlock()
	defer func() {
		connection.Close()
		lock.Lock()
		delete(clients, connection)
		lock.Unlock()
	}()
	for {
		kind, message, err := connection.ReadMessage()
		if err != nil {
			return
		}
		connection.Lock()
		err = connection.WriteMessage(kind, message)
		connection.Unlock()
		if err != nil {
			return
		}
	}
}

func broadcast(text string) {
	message, err := websocket.NewPreparedMessage(websocket.TextMessage, []byte(text))
	check(err)
	lock.Lock()
	defer lock.Unlock()
	for connection := range clients {
		connection.Lock()
		connection.WritePreparedMessage(message)
		connection.Unlock()
	}
}

// An order of the parent, and what answers it.
type order struct {
	Id    int      `json:"id"`
	Order string   `json:"order"`
	Args  []string `json:"args"`
}

type answered struct {
	Id     int `json:"id"`
	Result any `json:"result"`
}

func answer(port int) {
	fd, err := strconv.Atoi(os.Getenv("NODE_CHANNEL_FD"))
	check(err)
	channel := os.NewFile(uintptr(fd), "parent")
	send := json.NewEncoder(channel)
	check(send.Encode(answered{0, port}))
	lines := bufio.NewScanner(channel)
	for lines.Scan() {
		var given order
		check(json.Unmarshal(lines.Bytes(), &given))
		check(send.Encode(answered{given.Id, carryOut(given)}))
	}
	os.Exit(0)
}

func carryOut(given order) any {
	switch given.Order {
	case "anonymous":
		return anonymous()
	case "release":
		debug.FreeOSMemory()
	case "cpu":
		var usage syscall.Rusage
		check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
		return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e6
	case "open":
		lock.Lock()
		defer lock.Unlock()
		return map[string]int{"open": len(clients), "parked": 0}
	case "broadcast":
		broadcast(given.Args[0])
	}
	return nil
}

// Returns the anonymous memory of this process in bytes.
func anonymous() int {
	status, err := os.ReadFile("/proc/self/status")
	check(err)
	for _, line := range strings.Split(string(status), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "RssAnon:" {
			kilobytes, err := strconv.Atoi(fields[1])
			check(err)
			return 1024 * kilobytes
		}
	}
	return 0
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
