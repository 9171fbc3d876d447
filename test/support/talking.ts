/** Servers of the protocols that `ebb pulse` speaks. */
import { createServer as createHttp } from 'node:http'
import { createServer as createTcp, type Server } from 'node:net'
import { Aedes } from 'aedes'
import { onTestFinished } from 'vitest'
import { WebSocketServer } from 'ws'

/** Starts a server on 127.0.0.1 that answers what is usual, and returns its port. It is closed after the test. */
export async function talkingServer(scheme: string): Promise<number> {
  const server = await serverOf(scheme)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', 4096, resolve))
  onTestFinished(() => void server.close())
  return (server.address() as { port: number }).port
}

async function serverOf(scheme: string): Promise<Server> {
  switch (scheme) {
    case 'http':
      return createHttp((request, response) => void request.resume().on('end', () => response.end('hello')))
    case 'ws': {
      const server = createHttp()
      const sockets = new WebSocketServer({ server })
      sockets.on('connection', (socket) =>
        socket.on('message', (message, isBinary) => socket.send(message, { binary: isBinary }))
      )
      onTestFinished(() => {
        for (const socket of sockets.clients) socket.terminate()
      })
      return server
    }
    case 'mqtt': {
      const broker = await Aedes.createBroker()
      onTestFinished(() => new Promise<void>((resolve) => broker.close(resolve)))
      return createTcp(broker.handle)
    }
    default:
      throw new Error(`no server for ${scheme}`)
  }
}
