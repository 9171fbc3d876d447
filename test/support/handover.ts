/** Processes that hand over to each other, for tests. */
import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { expect, onTestFinished } from 'vitest'
import { Child, type ChildOptions } from './child.js'
import { directory } from './sockets.js'

/** A line that a {@link Member} prints. */
export interface Line {
  event: 'ready' | 'handedOver' | 'handoverFailed' | 'failed' | 'closed' | 'answer'
  /** `ready`: what `handover()` resolved with. */
  from?: { pid: number; connections: number; awake: number; ms: number }
  address?: AddressInfo | string
  message?: string
  /** `failed`: connections that the process has, and what is wrong with its tables. */
  left?: number
  wrong?: string[]
  report?: { pid: number; connections: number; awake: number; ms: number }
  value?: unknown
}

export interface MemberOptions extends ChildOptions {
  /** Source that makes `servers` and `listen`. Default: {@link ECHO}. */
  servers?: string
  /** More options of `handover()`. */
  options?: { grace?: string; timeout?: string }
  /** Step at which the process kills itself, or stops itself for `stopFor` ms. */
  step?: string
  /** How many times the step is passed before. */
  after?: number
  /** Source that is run at the step, in place of killing the process. */
  atStep?: string
}

/**
 * Options of `ebb/net` with which only bytes wake a connection. By default, one client is also woken if none has spoken
 * a second after the first one has connected, which happens when many connect on a busy machine.
 */
export const ONLY_BYTES_WAKE = "idle: '20ms', firstByteTimeout: false"

/** An echo server of `ebb/net` that answers each message with its pid, the connection's id, wakes and attachment. */
export const ECHO = `
  const servers = createServer({ ${ONLY_BYTES_WAKE}, attachmentLimit: 10_000_000 }, (socket, connection) => {
    // Each message waits for the end, too.
    socket.setMaxListeners(0).on('error', () => {})
    socket.on('data', (bytes) => {
      const text = bytes.toString()
      if (text.startsWith('keep:')) connection.attachment = text.slice(5)
      if (text.startsWith('big:')) connection.attachment = { text: 'x'.repeat(Number(text.slice(4))) }
      const kept = connection.attachment
      socket.write(JSON.stringify({
        pid: process.pid, id: connection.id, wakes: connection.wakes,
        kept: typeof kept === 'object' && kept ? kept.text.length : kept, text
      }) + '\\n')
      if (text.startsWith('now:')) setImmediate(() => connection.park())
    })
  })
  const listen = { port: 0, host: '127.0.0.1' }
`

/** Handlers of a listener that print what a {@link Member} prints for the events of other servers. */
const LISTENER_EVENTS = `
  handedOver: (report) => print({ event: 'handedOver', report }),
  handoverFailed: ({ message }) => print({ event: 'handoverFailed', message }),
`

/**
 * An echo server of `createListener()` that answers as {@link ECHO} does. A connection that has come from another
 * process counts as woken once more.
 */
export const LISTENER = `
  const moved = new Set()
  const opened = new Set()
  const all = new Map()
  const servers = createListener({
    ${LISTENER_EVENTS}
    open: (connection) => {
      opened.add(connection.id)
      all.set(connection.id, connection)
    },
    moved: (connection) => {
      moved.add(connection.id)
      all.set(connection.id, connection)
    },
    data(connection, bytes) {
      const text = bytes.toString()
      if (text.startsWith('keep:')) connection.attachment = text.slice(5)
      if (text.startsWith('big:')) connection.attachment = { text: 'x'.repeat(Number(text.slice(4))) }
      const kept = connection.attachment
      connection.write(JSON.stringify({
        pid: process.pid, id: connection.id, wakes: moved.has(connection.id) ? 2 : 1,
        kept: typeof kept === 'object' && kept ? kept.text.length : kept, text
      }) + '\\n')
    },
    close: (connection) => all.delete(connection.id)
  }, { attachmentLimit: 10_000_000, giveBack: false })
  const listen = { port: 0 }
`

/** Timeout of a handover that tests do not wait for. A busy machine takes longer than the default of a second. */
const UNHURRIED = '25s'

/** One process of a row of processes that follow each other. */
export class Member extends Child {
  constructor(path: string, { servers = ECHO, options = {}, step, after = 0, atStep, ...child }: MemberOptions = {}) {
    super(
      `
      import fs from 'node:fs'
      import http from 'node:http'
      import { subscribe } from 'node:diagnostics_channel'
      import { createInterface } from 'node:readline'
      import { createListener, park } from 'ebb'
      import { createServer } from 'ebb/net'
      import { handover } from 'ebb/handover'
      import { audit, trackCreated } from 'ebb/testing'
      trackCreated()
      const print = (line) => fs.writeSync(1, JSON.stringify(line) + '\\n')
      let left = ${after}
      subscribe('ebb:handover', (name) => {
        if (name !== ${JSON.stringify(step ?? '')} || left-- !== 0) return
        ${atStep ?? "process.kill(process.pid, 'SIGKILL')"}
      })
      ${servers}
      const first = 'listen' in servers || 'clients' in servers ? servers : servers.server ?? Object.values(servers)[0]
      // A listener has handlers: see LISTENER.
      if ('on' in first) {
        first.on('handedOver', (report) => print({ event: 'handedOver', report }))
        first.on('handoverFailed', ({ message }) => print({ event: 'handoverFailed', message }))
        first.on('close', () => print({ event: 'closed' }))
      }
      const idle = () => 'clients' in first ? first.clients : first.stats().parked
      const open = () => 'clients' in first ? first.clients : first.stats().parked + first.stats().awake
      const sockets = () => fs.readdirSync('/proc/self/fd').filter((fd) => {
        try { return fs.readlinkSync('/proc/self/fd/' + fd).startsWith('socket:') } catch { return false }
      }).length
      const commands = { audit, sockets, stats: () => first.stats() }
      const input = createInterface(process.stdin)
      input.on('line', (line) => {
        const result = line in commands ? commands[line]() : eval(line)
        Promise.resolve(result).then((value) => print({ event: 'answer', value }))
      })
      process.stdin.unref?.()
      try {
        const options = ${JSON.stringify({ timeout: UNHURRIED, ...options })}
        const from = await handover(servers, { path: ${JSON.stringify(path)}, listen, ...options })
        print({ event: 'ready', from, address: 'clients' in first ? first.address : first.address() })
      } catch ({ message, code }) {
        print({ event: 'failed', message, code, left: open(), wrong: audit() })
      }
    `,
      child
    )
  }

  /** Returns the next line with this event. Throws if another one comes before. */
  async expect(event: Line['event']): Promise<Line> {
    let line = await this.next<Line>()
    // Of servers that listened for a moment.
    while (line.event === 'closed' && event !== 'closed') line = await this.next<Line>()
    if (line.event !== event) throw new Error(`expected ${event}, but got ${JSON.stringify(line)}`)
    return line
  }

  /** Evaluates an expression in the process. */
  async value<T>(expression: string): Promise<T> {
    this.tell(expression)
    return (await this.expect('answer')).value as T
  }
}

/** Waits until an expression of a process has a value, however busy the machine is. */
export function eventually<T>(value: () => Promise<T>): ReturnType<typeof expect.poll<T>> {
  return expect.poll(value, { timeout: 30_000 })
}

/** Returns the path of a new handover socket. */
export function handoverPath(): string {
  return join(directory(), 'handover.sock')
}

/** What {@link ECHO} answers. */
export interface Answer {
  pid: number
  id: number
  wakes: number
  kept?: unknown
  text: string
}

/** A client of {@link ECHO}. */
export class EchoClient {
  readonly socket: Socket
  readonly #lines: Interface
  readonly #closed: Promise<void>
  ended = false

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => {})
    this.#closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.ended = true
        resolve()
      })
    })
    this.#lines = createInterface(socket)
    onTestFinished(() => void socket.destroy())
  }

  /** Sends a message and returns the answer. Throws if the connection is closed. */
  async ask(text: string): Promise<Answer> {
    if (this.ended || !this.socket.writable) throw new Error(`closed in place of an answer to ${text}`)
    const answer = this.answer(text)
    this.socket.write(text)
    return answer
  }

  /** Returns the next line. Throws if the connection is closed. */
  async answer(to = 'nothing'): Promise<Answer> {
    const line = once(this.#lines, 'line')
    // The interface also emits the errors of the socket, which closes after them.
    const answer = await Promise.race([line.catch(() => this.#closed), this.#closed])
    if (answer === undefined) throw new Error(`closed in place of an answer to ${to}`)
    return JSON.parse(answer[0]) as Answer
  }
}

export async function echoClient({ address }: Line): Promise<EchoClient> {
  const { port } = address as { port: number }
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  return new EchoClient(socket)
}

export async function echoClients(line: Line, count: number): Promise<EchoClient[]> {
  return Promise.all(Array.from({ length: count }, () => echoClient(line)))
}
