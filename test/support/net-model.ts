/**
 * A model of a parked server and its clients, for tests that take random steps.
 *
 * The model knows which bytes must arrive after each step. Bytes depend on their position in the stream (see `coded`),
 * and the server sends numbered frames. So every lost, duplicated or reordered byte is noticed.
 */
import { closeSync, openSync, readlinkSync } from 'node:fs'
import { Socket } from 'node:net'
import { type Connection, createServer, type ParkServer } from 'ebb/net'
import { libc, setOption } from 'ebb/sys'
import { expect } from 'vitest'
import { CodedReader, client, closed, coded, eventually, expectSum, listening, stats } from './net-parity.js'

const HEADER = 9
const SO_SNDBUF = 7
const SO_RCVBUF = 8
const BUFFER = 30_000

/** Receivers of a frame. Frames to `one` are numbered by connection; frames to `chosen` and `all`, by server. */
type FrameKind = 'one' | 'chosen' | 'all'
const KINDS: FrameKind[] = ['one', 'chosen', 'all']

function frame(kind: FrameKind, number: number, length: number): Buffer {
  const header = Buffer.alloc(HEADER)
  header[0] = KINDS.indexOf(kind)
  header.writeUInt32BE(number, 1)
  header.writeUInt32BE(length, 5)
  return Buffer.concat([header, coded(number, length, KINDS.indexOf(kind))])
}

/** Reads frames. Throws at the first wrong byte. */
class FrameReader {
  /** Numbers of the complete frames. */
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
        if (this.#kind >= KINDS.length) throw new Error('the received bytes are not a frame')
      }
      const part = bytes.subarray(0, this.#length - this.#at)
      if (!part.equals(coded(this.#number + this.#at, part.length, this.#kind))) {
        throw new Error(`frame ${KINDS[this.#kind]} ${this.#number}: wrong byte after ${this.#at}`)
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
 * State of a connection. `ended`: one side has sent a FIN, and everything sent before it arrives. `broken`: the
 * connection was reset, or the server closed it, and only a prefix of the sent bytes arrives.
 */
type State = 'open' | 'ended' | 'broken'

/** One connection, seen from both sides. */
class Member {
  readonly peer: Socket
  readonly port: number
  state: State = 'open'
  /** Number of bytes that the client has sent. */
  sent = 0
  /** Bytes that the server's listeners have read. */
  readonly read: CodedReader
  readonly frames = new FrameReader()
  /** Numbers of the frames that must arrive. */
  readonly sentOne: number[] = []
  readonly sentChosen: number[] = []
  /** Number of the first frame to `all` that must arrive. */
  firstAll: number | undefined
  /** Number of frames to `chosen` that were sent while the connection was open. */
  chosenWhenOpen = 0
  /** The last socket that a listener received, and its connection. */
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

/**
 * Files that are opened and closed between connections. If ebb closed a wrong descriptor, one of them would be gone.
 */
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

/** How often each action is chosen, relative to the others. */
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
  'server resets': 1,
  'server times out': 1,
  'server removes listeners': 1,
  'another socket takes': 1,
  settings: 6,
  'open a file': 4,
  'close a file': 4,
  turn: 40
} as const
export type Action = keyof typeof ACTIONS | 'sleep'

/** Makes the kernel's buffers small, so that sent bytes often have to wait. */
function limitBuffers(of: Socket | ParkServer): void {
  const { fd } = (of as unknown as { _handle: { fd: number } })._handle
  for (const name of [SO_SNDBUF, SO_RCVBUF]) setOption(fd, libc.SOL_SOCKET, name, BUFFER)
}

/** Maximum number of open connections. */
const MOST = 60
/** Factor for the size of `a lot`: more than the kernel buffers for a peer that does not read. */
const MANY = 150
/** Milliseconds: longer than the idle timeout and two ticks of the server's timer. */
const SLEEP = 40

/** The model. */
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

  /** Number of steps that had an effect. */
  done = 0

  async start(): Promise<void> {
    const options = { idle: 2, noDelay: true }
    this.#server = await listening(createServer(options, (socket, connection) => this.#woken(socket, connection)))
    // Accepted sockets inherit the buffer sizes of the listening socket.
    limitBuffers(this.#server)
    this.#server.on('disconnect', ({ id, attachment }: Connection) => {
      const member = this.#byId.get(id)
      // The connection may have broken before its first wake identified it.
      if (member === undefined) return
      member.disconnected++
      this.#check(() => {
        expect(member.disconnected).toBe(1)
        expect(attachment).toEqual(member.attached)
      })
    })
  }

  /** Takes a step. `number` selects the connection and the amount of bytes. */
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

  /** Acts on one connection. Returns false if the action does not apply to its state. */
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
    // The application only knows connections that have woken before.
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
        // Writes to the last socket, even if its connection is parked.
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
      case 'server resets':
        this.#end(member, 'broken')
        socket.resetAndDestroy()
        return true
      case 'server times out':
        // The last socket, even if its connection is parked.
        this.#end(member, 'broken')
        socket.setTimeout(1 + (size % 10), () => socket.destroy())
        return true
      case 'server removes listeners':
        if (socket.destroyed) return false
        this.#end(member, 'broken')
        socket.removeAllListeners().on('error', () => {})
        socket.resume()
        setTimeout(() => socket.destroy(), size % 5)
        return true
      case 'another socket takes':
        return this.#take(member, socket, size)
      case 'settings':
        socket.setNoDelay(size % 2 === 0).setKeepAlive(size % 3 === 0, 5000)
        if (size % 5 === 0) socket.unref()
        else socket.ref()
        socket.setTimeout(size % 7 === 0 ? 60_000 : 0, () => {})
        return true
      default:
        return false
    }
  }

  /** Gives the handle of an awake socket to another socket, which closes the connection soon. */
  #take(member: Member, socket: Socket, size: number): boolean {
    const internals = socket as unknown as { _handle: object | null }
    const { _handle: handle } = internals
    if (handle === null || socket.writableLength > 0) return false
    this.#end(member, 'broken')
    internals._handle = null
    const other = new Socket({ handle } as object)
    other.on('error', () => {}).resume()
    setTimeout(() => other.destroy(), size % 5)
    return true
  }

  /** Lets all clients read, checks what has arrived, and closes everything. */
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
    // After the end, frames may be missing, but they are still in order.
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
    // A client that does not read would never see the end.
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
        // The socket is half-open, so its other side must be closed too.
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
    socket.on('data', (bytes) => {
      // Bytes of a connection that is given up may have been read by somebody else.
      if (member.state !== 'broken') this.#check(() => member.read.take(bytes))
    })
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

  /** Keeps an error of a callback for the step, instead of throwing it into the server. */
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
