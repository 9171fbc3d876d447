/** Programs that do not know of ebb, started with `ebb/park`. */
import { once } from 'node:events'
import { symlinkSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import { Cli, ROOT } from './cli.js'
import { directory } from './sockets.js'

/** What starts the library. */
export const IMPORT = ['--import', 'ebb/park']

/** Connections are parked as soon as possible, and nothing is printed. */
export const SOON = { EBB_PARK_IDLE: '1ms', EBB_PARK_LOG: '0' }

/** Writes files to a folder in which the packages of this repository are installed. @returns the folder */
export function project(files: Record<string, string>): string {
  const folder = directory()
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  for (const [name, source] of Object.entries(files)) writeFileSync(join(folder, name), source)
  return folder
}

/** A program that prints the port of its server. */
export type Program = Cli & { port: number; url: string }

/** Starts a program with `ebb/park`, and waits until it prints its port. */
export async function serve(file: string, env: NodeJS.ProcessEnv = SOON, args = IMPORT): Promise<Program> {
  const cli = new Cli([process.execPath, ...args, file], { env })
  const [, port = ''] = await cli.said(/^(\d+)\n/m)
  return Object.assign(cli, { port: Number(port), url: `127.0.0.1:${port}` })
}

/** Writes an ES module and starts it: see {@link serve}. */
export function serveSource(source: string, env: NodeJS.ProcessEnv = SOON, args = IMPORT): Promise<Program> {
  return serve(join(project({ 'app.mjs': source }), 'app.mjs'), env, args)
}

/** Asks with GET on a connection that is kept open, until the answer is as expected. */
export async function askUntil(port: number, expected: string, path = '/'): Promise<void> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  onTestFinished(() => agent.destroy())
  for (let first = true; ; first = false) {
    const request = http.get({ port, path, agent, host: '127.0.0.1' })
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    const answer = await text(response)
    if (!first && !request.reusedSocket) throw new Error('the server has closed the connection')
    if (answer === expected) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Opens a WebSocket. */
export async function open(url: string, ...options: unknown[]): Promise<WebSocket> {
  const webSocket = new WebSocket(`ws://${url}`, ...(options as []))
  onTestFinished(() => webSocket.terminate())
  await once(webSocket, 'open')
  return webSocket
}

/** Sends a message until the echo is as expected. */
export async function echoUntil(webSocket: WebSocket, expected: string): Promise<void> {
  for (;;) {
    webSocket.send('echo')
    if (String((await once(webSocket, 'message'))[0]) === expected) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/**
 * A program with HTTP and WebSockets. `/` answers `woken` if the connection has another socket than at its last
 * request. A message is answered with `echo parked` if its connection has no socket.
 *
 * @param imports make `createServer` and `WebSocketServer` known
 */
export function webProgram(imports: string): string {
  return `${imports}
    const sockets = new Map()
    const server = createServer(({ socket }, response) => {
      const last = sockets.get(socket.remotePort) ?? socket
      sockets.set(socket.remotePort, socket)
      response.end(last === socket ? 'same' : 'woken')
    })
    const webSockets = new WebSocketServer({ server })
    webSockets.on('connection', (webSocket, { socket }) => {
      webSocket.on('message', (data) => webSocket.send(data + (socket.destroyed ? ' parked' : ' awake')))
    })
    server.listen(0, '127.0.0.1', () => console.log(server.address().port))
    process.once('SIGTERM', () => {
      for (const webSocket of webSockets.clients) webSocket.close(1001)
      server.close(() => console.log('closed'))
    })`
}

export const ES_IMPORTS = "import { createServer } from 'node:http'\nimport { WebSocketServer } from 'ws'\n"
