/** WebSockets of processes that hand over to each other, and their clients. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { expect, onTestFinished } from 'vitest'
import { type ClientOptions, WebSocket } from 'ws'
import { eventually, type Line, type Member } from './handover.js'

/**
 * A hub that answers each text with what it knows of the connection, and each binary message with the same.
 *
 * @param options more options of `hibernate()`, as source
 * @param target its first argument
 */
export function hub(options = '', target = '{ listen: false }'): string {
  return `
    const { hibernate } = await import('ebb/websocket')
    const [events, came] = [[], []]
    const hub = hibernate(${target}, {
      upgrade: ({ url, protocols }) => ({ tags: [url.slice(1), 'all'], protocol: protocols[0], attachment: { url } }),
      message(socket, data, binary) {
        if (data === 'close') return socket.close(4000, 'asked')
        if (data === 'flood') {
          for (let i = 0; i < 400; i++) socket.send(String(i).padStart(5, '0').repeat(10_000))
          return
        }
        if (!binary && data.startsWith('tag:')) socket.tags = [data.slice(4), 'all']
        const { id, tags, protocol, attachment } = socket
        const told = { pid: process.pid, id, tags, protocol, attachment, length: data.length, text: data.slice(0, 20) }
        socket.send(binary ? data : JSON.stringify(told))
      },
      moved: ({ id, tags }) => came.push([id, tags]),
      close: (socket, code, reason) => events.push([code, reason, socket.tags])
    }, { autoResponse: { request: 'beat', response: 'yes' }, maxPayload: 0, maxQueued: 1e9, ${options} })
    const servers = hub
    const listen = { port: 0, host: '127.0.0.1' }
  `
}

/** What {@link hub} answers. */
export interface Told {
  pid: number
  id: number
  tags: string[]
  protocol: string
  attachment: { url: string }
  length: number
  text: string
}

/** A client of {@link hub}. */
export class HubClient {
  readonly socket: WebSocket
  readonly messages: string[] = []
  /** Code and reason of the close frame, once it is closed. */
  closed: [number, string] | undefined
  #wake: (() => void) | undefined

  constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('error', () => {})
    socket.on('message', (data: Buffer, binary) => {
      this.messages.push(binary ? data.toString('hex') : data.toString())
      this.#wake?.()
    })
    socket.on('close', (code, reason) => {
      this.closed = [code, reason.toString()]
      this.#wake?.()
    })
    onTestFinished(() => socket.terminate())
  }

  /** Returns the next message that was not returned before. */
  async next(): Promise<string> {
    while (this.messages.length === 0) {
      if (this.closed !== undefined) throw new Error(`closed with ${this.closed.join(' ')}`)
      await this.#event()
    }
    return this.messages.shift() as string
  }

  #event(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  /** Resolves with code and reason of the close frame. */
  async end(): Promise<[number, string]> {
    while (this.closed === undefined) await this.#event()
    return this.closed
  }

  async ask(text: string): Promise<Told> {
    this.socket.send(text)
    return JSON.parse(await this.next()) as Told
  }
}

/** Opens connections. @param of the server's line `ready` */
export async function hubClients(
  of: Line,
  count: number,
  path = (at: number): string => `/room${at % 3}`,
  options: ClientOptions = {}
): Promise<HubClient[]> {
  const { port } = of.address as { port: number }
  return Promise.all(
    Array.from({ length: count }, async (_, at) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}${path(at)}`, ['chat'], options)
      const client = new HubClient(socket)
      await once(socket, 'open')
      return client
    })
  )
}

/** Checks that a message of each client arrives at the process. */
export async function servedBy(clients: readonly HubClient[], pid: number | undefined): Promise<Told[]> {
  const told = await Promise.all(clients.map((client) => client.ask('who')))
  expect(new Set(told.map((one) => one.pid))).toEqual(new Set([pid]))
  return told
}

/** A client that sends bytes of its own, after a handshake. */
export async function rawClient({ address }: Line, path = '/raw'): Promise<Socket> {
  const socket = connect((address as { port: number }).port, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => {})
  const head = [`GET ${path} HTTP/1.1`, 'Host: x', 'Connection: Upgrade', 'Upgrade: websocket']
  const key = ['Sec-WebSocket-Version: 13', `Sec-WebSocket-Key: ${'A'.repeat(22)}==`]
  socket.write([...head, ...key, '', ''].join('\r\n'))
  await once(socket, 'data')
  return socket
}

/** A frame of a client, with the mask 0. */
export function masked(first: number, payload: string): Buffer {
  return Buffer.concat([Buffer.from([first, 0x80 | payload.length, 0, 0, 0, 0]), Buffer.from(payload)])
}

// First bytes of frames.
export const TEXT = 0x81
export const PART = 0x01
export const LAST = 0x80
export const CLOSE = 0x88

/** Resolves when the process has read all that a raw client has sent. */
export async function isRead(member: Member, socket: Socket): Promise<void> {
  await eventually(() => member.value(`unread(${socket.remotePort}, ${socket.localPort})`)).toBe(0)
}

/** Tells how many bytes the kernel holds for a connection. Other servers may have one from the same client port. */
export const UNREAD = `
  const unread = (...ports) => {
    const [server, client] = ports.map((port) => ':' + port.toString(16).toUpperCase().padStart(4, '0'))
    const rows = fs.readFileSync('/proc/net/tcp', 'utf8').split('\\n').map((row) => row.trim().split(/ +/))
    const row = rows.find(([, local, remote]) => local?.endsWith(server) && remote?.endsWith(client))
    return row === undefined ? -1 : Number.parseInt(row[4].split(':')[1], 16)
  }
`
