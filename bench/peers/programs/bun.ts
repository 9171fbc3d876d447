/** Listens with `Bun.listen`: all sockets share the handlers. */
Bun.listen({
  hostname: '127.0.0.1',
  port: Number(Bun.argv[2]),
  socket: {
    data() {},
    error() {}
  }
})
