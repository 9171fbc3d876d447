// Holds a goroutine for each connection, as the documentation of package net shows. With `goroutines PORT free` it
// calls debug.FreeOSMemory every second, which returns unused memory to the operating system.
package main

import (
	"log"
	"net"
	"os"
	"runtime/debug"
	"time"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	if len(os.Args) > 2 && os.Args[2] == "free" {
		go func() {
			for range time.Tick(time.Second) {
				debug.FreeOSMemory()
			}
		}()
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Print(err)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go drop(connection)
	}
}

func drop(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, 512)
	for {
		if _, err := connection.Read(buffer); err != nil {
			return
		}
	}
}
