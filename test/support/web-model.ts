/**
 * A model of a parked HTTP server and its clients, for tests that take random steps: requests, streams, broadcasts,
 * upgrades. Responses and events are numbered, so a lost or reordered one is noticed.
 */
import http from 'node:http'
import type { Socket } from 'node:net'
import { type Parked, park } from 'ebb'
import { expect } from 'vitest'
import { client, closed, eventually, expectSum, listening, stats } from './net-parity.js'

/** How often each action is chosen, relative to the others. */
export const WEB_ACTIONS = {
  connect: 10,
  get: 40,
  'get late': 6,
  stream: 4,
  send: 20,
  broadcast: 4,
  'client ends': 1,
  'client resets': 1,
  'server closes': 1,
  'last request': 1,
  upgrade: 1,
  'empty line': 6,
  turn: 30
} as const
export type WebAction = keyof typeof WEB_ACTIONS | 'sleep'

/** Maximum number of open connections. */
const MOST = 40
/** Milliseconds: longer than the idle timeout and two ticks of the server's timer. */
const SLEEP = 40
/** Maximum number of requests that wait for a response. */
const PIPELINED = 5

class WebMember {
  readonly peer: Socket
  readonly port: number
  /** Whether every byte has to arrive. Otherwise one side has ended the connection. */
  open = true
  received = ''
  requests = 0
  /** Id of the connection, once it is a stream. */
  stream: number | undefined
  asked = false
  sent = 0
  firstBroadcast = 0

  constructor(peer: Socket) {
    this.peer = peer
    this.port = peer.localPort ?? 0
    peer.on('data', (bytes: Buffer) => {
      this.received += bytes.toString('latin1')
    })
    peer.on('end', () => peer.end())
  }

  /** Returns the numbers of what has arrived, by the brackets around them. */
  came(brackets: '[]' | '()' | '{}'): number[] {
    const [open, close] = brackets
    return [...this.received.matchAll(new RegExp(`\\${open}(\\d+)\\${close}`, 'g'))].map(([, number]) => Number(number))
  }
}

/** The model. */
export class Web {
  readonly #server: http.Server & Parked
  readonly #members = new Map<number, WebMember>()
  readonly #broadcasts: Promise<unknown>[] = []
  #connecting = 0
  #connected = 0
  #broadcast = 0

  constructor() {
    const server = http.createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
      const [, path, number] = (request.url ?? '').split('/')
      const member = this.#members.get(request.socket.remotePort ?? 0)
      if (path === 'stream' && member !== undefined) {
        response.writeHead(200, { 'content-type': 'text/event-stream' })
        member.firstBroadcast = this.#broadcast
        member.stream = this.#server.stream(response).id
      } else if (path === 'late') setTimeout(() => response.end(`[${number}]`), 10)
      else response.end(`[${number}]`)
    })
    this.#server = park(server, { idle: 3 })
    this.#server.on('upgrade', (_request, socket: Socket) => {
      socket.removeAllListeners().on('error', () => {})
      socket.resume().end('HTTP/1.1 101 x\r\n\r\n')
    })
  }

  async start(): Promise<void> {
    await listening(this.#server)
  }

  /** Takes a step. `number` selects the connection. */
  async step(action: WebAction, number: number): Promise<void> {
    switch (action) {
      case 'connect':
        this.#connect()
        return
      case 'broadcast':
        this.#broadcasts.push(this.#server.broadcast(`{${this.#broadcast++}}`))
        return
      case 'turn':
        await new Promise((resolve) => setImmediate(resolve))
        return
      case 'sleep':
        await new Promise((resolve) => setTimeout(resolve, SLEEP))
        return
    }
    const open = [...this.#members.values()].filter((member) => member.open)
    const member = open[number % open.length]
    if (member !== undefined) this.#act(member, action)
  }

  #act(member: WebMember, action: WebAction): void {
    const { peer } = member
    const waits = member.requests - member.came('[]').length
    const mayAsk = !member.asked && waits < PIPELINED
    switch (action) {
      case 'get':
      case 'get late':
        if (!mayAsk) return
        peer.write(`GET /${action === 'get' ? 'now' : 'late'}/${member.requests++} HTTP/1.1\r\nHost: x\r\n\r\n`)
        return
      case 'empty line':
        if (mayAsk) peer.write('\r\n')
        return
      case 'stream':
        if (!mayAsk || waits > 0) return
        member.asked = true
        peer.write('GET /stream HTTP/1.1\r\nHost: x\r\n\r\n')
        return
      case 'send':
        if (member.stream !== undefined) {
          expect(this.#server.send(member.stream, `(${member.sent++})`)).toBe(true)
        }
        return
      case 'upgrade':
        if (!mayAsk) return
        member.open = false
        peer.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n')
        return
      case 'client ends':
        member.open = false
        peer.end()
        return
      case 'client resets':
        member.open = false
        peer.resetAndDestroy()
        return
      case 'server closes':
        if (member.stream === undefined) return
        member.open = false
        this.#server.closeConnection(member.stream)
        return
      case 'last request':
        if (!mayAsk) return
        member.open = false
        peer.write('GET /now/0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        return
    }
  }

  #connect(): void {
    const open = [...this.#members.values()].filter((member) => member.open).length
    if (open + this.#connecting >= MOST) return
    this.#connecting++
    void client(this.#server).then((peer) => {
      this.#connecting--
      this.#connected++
      const member = new WebMember(peer)
      this.#members.set(member.port, member)
    })
  }

  /** Checks what has arrived, and closes everything. */
  async finish(): Promise<void> {
    await eventually(() => expect(this.#connecting).toBe(0))
    await Promise.all(this.#broadcasts)
    for (const member of this.#members.values()) await eventually(() => this.#expectComplete(member))
    for (const [i, { peer }] of [...this.#members.values()].entries()) {
      if (i % 2 === 0) peer.end()
      else peer.destroy()
    }
    await stats(this.#server, { parked: 0, awake: 0 })
    expect(this.#server.stats().accepted).toBe(this.#connected)
    expectSum(this.#server)
    await closed(this.#server)
  }

  #expectComplete(member: WebMember): void {
    const [responses, sent, all] = [member.came('[]'), member.came('()'), member.came('{}')]
    if (!member.open) return
    expect(responses).toEqual(Array.from({ length: member.requests }, (_, i) => i))
    expect(sent).toEqual(Array.from({ length: member.sent }, (_, i) => i))
    if (member.stream === undefined) return
    const first = all[0] ?? this.#broadcast
    expect(first).toBeLessThanOrEqual(member.firstBroadcast)
    expect(all).toEqual(Array.from({ length: this.#broadcast - first }, (_, i) => first + i))
  }
}
