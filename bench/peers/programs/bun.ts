/** `Bun.listen`: handlers shared by all sockets, over uSockets. */
Bun.listen({
  hostname: '127.0.0.1',
  port: Number(Bun.argv[2]),
  socket: {
    data() {},
    error() {}
  }
})
