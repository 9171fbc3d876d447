/**
 * A crowd of connections whose every byte is accounted for: a parked server and its clients in this process, and what must have come
 * of each step that is taken. Bytes know their place (see `coded`), and what the server sends is in frames that are numbered.
 */
import { closeSync, openSync, readlinkSync } from 'node:fs'
import type { Socket } from 'node:net'
import { type Connection, createServer, type ParkServer } from 'ebb/net'
import { libc, setOption } from 'ebb/sys'
import { expect } from 'vitest'
import { CodedReader, client, closed, coded, eventually, expectSum, listening, stats } from './net-parity.js'

const HEADER = 9
const SO_SNDBUF = 7
const SO_RCVBUF = 8
const BUFFER = 30_000

/** To one: numbered for each connection. To those that a filter chose, and to all: numbered for the server. */
type FrameKind = 'one' | 'chosen' | 'all'
const KINDS: FrameKind[] = ['one', 'chosen', 'all']

function frame(kind: FrameKind, number: number, length: number): Buffer {
  const header = Buffer.alloc(HEADER)
  header[0] = KINDS.indexOf(kind)
  header.writeUInt32BE(number, 1)
  header.writeUInt32BE(length, 5)
  return Buffer.concat([header, coded(number, length, KINDS.indexOf(kind))])
}

/** Reads frames, and throws at the first byte that is not what must come. */
class FrameReader {
  /** Numbers of the frames that came whole. */
  readonly came: Record<FrameKind, number[]> = { one: [], chosen: [], all: [] }
  #header = Buffer.alloc(0)
  #kind = 0
  #number = 0
  #length = 0
  #at = 0

  take(chunk: Buffer): void {
    let bytes = chunk
    while (bytes.length > 0) {
      if (this.#header.length < HEADER) {
        const missing = HEADER - this.#header.length
        this.#header = Buffer.concat([this.#header, bytes.subarray(0, missing)])
        bytes = bytes.subarray(missing)
        if (this.#header.length < HEADER) return
        this.#kind = this.#header[0] as number
        this.#number = this.#header.readUInt32BE(1)
        this.#length = this.#header.readUInt32BE(5)
        this.#at = 0
        if (this.#kind >= KINDS.length) throw new Error('what comes is no frame')
      }
      const part = bytes.subarray(0, this.#length - this.#at)
      if (!part.equals(coded(this.#number + this.#at, part.length, this.#kind))) {
        throw new Error(`frame ${KINDS[this.#kind]} ${this.#number}: other bytes than were sent, after ${this.#at}`)
      }
      this.#at += part.length
      bytes = bytes.subarray(part.length)
      if (this.#at < this.#length) return
      this.came[KINDS[this.#kind] as FrameKind].push(this.#number)
      this.#header = Buffer.alloc(0)
    }
  }
}

/**
 * `open`; `ended`: either side has sent its FIN, and all that was on its way arrives; `broken`: a RST, or the server's close, and
 * what arrives is the beginning of what was sent.
 */
type State = 'open' | 'ended' | 'broken'

/** One connection, seen from both sides. */
class Member {
  readonly peer: Socket
  readonly port: number
  state: State = 'open'
  /** What its client has sent, and what its listeners have read. */
  sent = 0
  readonly read: CodedReader
  readonly frames = new FrameReader()
  /** Numbers of the frames that must come. */
  readonly sentOne: number[] = []
  readonly sentChosen: number[] = []
  /** The first `all` that it cannot have missed. */
  firstAll: number | undefined
  /** How many `chosen` there were when it stopped to be open. */
  chosenWhenOpen = 0
  /** The last socket and connection that a listener got. */
  socket: Socket | undefined
  connection: Connection | undefined
  wakes = 0
  attached: unknown
  disconnected = 0

  constructor(peer: Socket) {
    this.peer = peer
    this.port = peer.localPort ?? 0
    this.read = new CodedReader(this.port)
  }
}

/** Files that are opened and closed between the connections: one that is closed by somebody else had a number that was not his. */
class Bystanders {
  readonly #open: number[] = []

  open(): void {
    if (this.#open.length < 20) this.#open.push(openSync('/dev/zero', 'r'))
  }

  close(): void {
    const fd = this.#open.shift()
    if (fd === undefined) return
    expect(readlinkSync(`/proc/self/fd/${fd}`)).toBe('/dev/zero')
    closeSync(fd)
  }

  closeAll(): void {
    while (this.#open.length > 0) this.close()
  }
}

/** Shares of a step. */
export const ACTIONS = {
  connect: 12,
  up: 40,
  'up a lot': 2,
  send: 36,
  'send a lot': 4,
  write: 18,
  broadcast: 2,
  'broadcast to some': 2,
  park: 36,
  'keep awake': 3,
  pause: 4,
  resume: 4,
  'client ends': 1,
  'client resets': 1,
  'server ends': 1,
  'server closes': 1,
  'server destroys': 1,
  'open a file': 4,
  'close a file': 4,
  turn: 40
} as const
export type Action = keyof typeof ACTIONS | 'sleep'

/** Has the kernel keep little for who does not read: then what is sent often waits. */
function limitBuffers(of: Socket | ParkServer): void {
  const { fd } = (of as unknown as { _handle: { fd: number } })._handle
  for (const name of [SO_SNDBUF, SO_RCVBUF]) setOption(fd, libc.SOL_SOCKET, name, BUFFER)
}

/** Most connections that are open at once. */
const MOST = 60
/** A lot is so many times as much: more than the kernel keeps for a peer that does not read. */
const MANY = 150
/** Longer than idle and two ticks of the server's timer (ms). */
const SLEEP = 40

export class Crowd {
  readonly #members: Member[] = []
  readonly #byPort = new Map<number, Member>()
  readonly #byId = new Map<number, Member>()
  readonly #bystanders = new Bystanders()
  readonly #broadcasts: Promise<unknown>[] = []
  readonly #failures: unknown[] = []
  #server!: ParkServer
  #connecting = 0
  #connected = 0
  #broadcastNumber = 0
  #allNumber = 0

  /** How many steps did something. */
  done = 0

  async start(): Promise<void> {
    const options = { idle: 2, noDelay: true }
    this.#server = await listening(createServer(options, (socket, connection) => this.#woken(socket, connection)))
    // What is accepted has the buffers of the socket that it comes from.
    limitBuffers(this.#server)
    this.#server.on('disconnect', ({ id, attachment }: Connection) => {
      const member = this.#byId.get(id)
      // It may have broken before its first wake could tell whose it is.
      if (member === undefined) return
      member.disconnected++
      this.#check(() => {
        expect(member.disconnected).toBe(1)
        expect(attachment).toEqual(member.attached)
      })
    })
  }

  /** Takes a step, with a member and an amount that `number` says. */
  async step(action: Action, number: number): Promise<void> {
    const open = this.#members
    const member = open[number % open.length]
    const size = 1 + (number % 2000)
    const before = this.done++
    switch (action) {
      case 'connect':
        this.#connect()
        return
      case 'broadcast':
        this.#broadcast(size)
        return
      case 'broadcast to some':
        this.#broadcastToSome(size, number)
        return
      case 'open a file':
        this.#bystanders.open()
        return
      case 'close a file':
        this.#bystanders.close()
        return
      case 'turn':
        await new Promise((resolve) => setImmediate(resolve))
        return
      case 'sleep':
        await new Promise((resolve) => setTimeout(resolve, SLEEP))
        return
    }
    if (member === undefined || !this.#act(member, action, size)) this.done = before
    if (this.#failures.length > 0) throw this.#failures[0]
  }

  /** False: there was nothing to do. */
  #act(member: Member, action: Action, size: number): boolean {
    const { connection, socket, peer } = member
    if (member.state !== 'open') {
      if (action === 'resume') peer.resume()
      return action === 'resume'
    }
    switch (action) {
      case 'up':
      case 'up a lot': {
        const length = action === 'up' ? size : MANY * size
        peer.write(coded(member.sent, length, member.port))
        member.sent += length
        return true
      }
      case 'pause':
        peer.pause()
        return true
      case 'resume':
        peer.resume()
        return true
      case 'client ends':
        this.#end(member, 'ended')
        peer.end()
        return true
      case 'client resets':
        this.#end(member, 'broken')
        peer.resetAndDestroy()
        return true
    }
    // The rest is for those who woke before: nobody else is known to the application.
    if (connection === undefined || socket === undefined) return false
    switch (action) {
      case 'send':
      case 'send a lot':
        this.#check(() =>
          expect(this.#server.send(connection.id, this.#frameFor(member, action === 'send' ? size : MANY * size))).toBe(
            true
          )
        )
        return true
      case 'write':
        // To the last socket, whether its connection is parked or not.
        socket.write(this.#frameFor(member, size))
        return true
      case 'park':
        connection.park()
        return true
      case 'keep awake':
        connection.keepAwake = !connection.keepAwake
        return true
      case 'server ends':
        this.#end(member, 'ended')
        connection.end()
        return true
      case 'server closes':
        this.#end(member, 'broken')
        connection.close()
        return true
      case 'server destroys':
        if (connection.parked || socket.destroyed) return false
        this.#end(member, 'broken')
        socket.destroy()
        return true
      default:
        return false
    }
  }

  /** Everybody reads, all that was sent arrives, everybody goes. */
  async finish(): Promise<void> {
    await eventually(() => expect(this.#connecting).toBe(0))
    this.#rethrow()
    await Promise.all(this.#broadcasts)
    for (const { peer } of this.#byPort.values()) peer.resume()
    for (const member of this.#byPort.values()) await eventually(() => this.#expectComplete(member))
    this.#rethrow()
    for (const [i, member] of [...this.#byPort.values()].entries()) {
      if (i % 2 === 0) member.peer.end()
      else member.peer.destroy()
    }
    await stats(this.#server, { parked: 0, awake: 0, accepted: this.#connected })
    expectSum(this.#server)
    for (const { connection, disconnected } of this.#byPort.values()) {
      if (connection !== undefined) expect(disconnected).toBe(1)
    }
    await closed(this.#server)
    this.#bystanders.closeAll()
    this.#rethrow()
  }

  #expectComplete(member: Member): void {
    this.#rethrow()
    const { came } = member.frames
    const { length } = member.sentOne
    if (member.state === 'broken') {
      expect(came.one).toEqual(member.sentOne.slice(0, came.one.length))
      expect(came.chosen).toEqual(member.sentChosen.slice(0, came.chosen.length))
      return
    }
    expect([member.read.position, came.one.length]).toEqual([member.sent, length])
    expect(came.one).toEqual(member.sentOne)
    // After its end those that come are still in order.
    if (member.state === 'ended') {
      expect(came.chosen.length).toBeGreaterThanOrEqual(member.chosenWhenOpen)
      expect(came.chosen).toEqual(member.sentChosen.slice(0, came.chosen.length))
    } else expect(came.chosen).toEqual(member.sentChosen)
    const [first, last] = [came.all[0], came.all.at(-1)]
    expect(came.all).toEqual(Array.from(came.all, (_, i) => (first as number) + i))
    if (member.firstAll === undefined || member.state !== 'open') return
    expect(first).toBeLessThanOrEqual(member.firstAll)
    expect(last).toBe(this.#allNumber - 1)
  }

  #end(member: Member, state: State): void {
    member.state = state
    member.chosenWhenOpen = member.sentChosen.length
    this.#members.splice(this.#members.indexOf(member), 1)
    // Or a client that does not read would never see the end.
    member.peer.resume()
  }

  #connect(): void {
    if (this.#members.length + this.#connecting >= MOST) return
    this.#connecting++
    client(this.#server)
      .then((peer) => {
        this.#connected++
        limitBuffers(peer)
        const member = new Member(peer)
        this.#members.push(member)
        this.#byPort.set(member.port, member)
        peer.on('data', (bytes: Buffer) => this.#check(() => member.frames.take(bytes)))
        // Half-open: the other side is closed by hand.
        peer.on('end', () => peer.end())
      })
      .catch((error) => this.#failures.push(error))
      .finally(() => this.#connecting--)
  }

  #woken(socket: Socket, connection: Connection): void {
    socket.on('error', () => {})
    const member = this.#byId.get(connection.id) ?? this.#byPort.get(socket.remotePort ?? 0)
    if (member === undefined) {
      socket.resume()
      return
    }
    this.#check(() => {
      expect(connection.wakes).toBe(++member.wakes)
      if (member.connection !== undefined) expect(connection.id).toBe(member.connection.id)
      expect(connection.attachment).toEqual(member.attached)
    })
    member.attached = { port: member.port, wakes: member.wakes }
    connection.attachment = member.attached
    member.socket = socket
    member.connection = connection
    this.#byId.set(connection.id, member)
    socket.on('data', (bytes) => this.#check(() => member.read.take(bytes)))
  }

  #frameFor(member: Member, length: number): Buffer {
    const number = member.sentOne.length
    member.sentOne.push(number)
    return frame('one', number, length)
  }

  #broadcast(length: number): void {
    const number = this.#allNumber++
    for (const member of this.#members) if (member.connection !== undefined) member.firstAll ??= number
    this.#broadcasts.push(this.#server.broadcast(frame('all', number, length)))
  }

  #broadcastToSome(length: number, choice: number): void {
    const number = this.#broadcastNumber++
    let chosen = 0
    const filter = (id: number): boolean => {
      const member = this.#byId.get(id)
      if (member === undefined || (member.port + choice) % 3 === 0) return false
      member.sentChosen.push(number)
      chosen++
      return true
    }
    this.#broadcasts.push(
      this.#server
        .broadcast(frame('chosen', number, length), filter)
        .then((count) => this.#check(() => expect(count).toBeLessThanOrEqual(chosen)))
    )
  }

  /** What fails within a callback is a failure of the step, not of the server that calls it. */
  #check(check: () => void): void {
    try {
      check()
    } catch (error) {
      this.#failures.push(error)
    }
  }

  #rethrow(): void {
    if (this.#failures.length > 0) throw this.#failures[0]
  }
}
