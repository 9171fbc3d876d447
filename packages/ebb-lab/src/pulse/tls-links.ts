/** Connections with TLS: each has two sockets of Node, because OpenSSL keeps the keys and the state in the process. */
import { Socket } from 'node:net'
import { connect, createSecureContext, type TLSSocket } from 'node:tls'
import { codeOf } from '../units/errors.js'
import type { TlsSettings } from './protocols/protocol.js'

/** What the sockets report about their lines. */
export interface LinkEvents {
  /** The handshake is complete. */
  secured(line: number, isResumed: boolean): void
  /** Bytes have come. The memory is used again after the call. */
  received(line: number, bytes: Buffer, length: number): void
  /** Everything that was sent has reached the kernel. */
  drained(line: number): void
  /** The connection has ended: with an error, or with a FIN if `cause` is undefined. */
  ended(line: number, cause: string | undefined): void
}

/** Milliseconds that a socket has to send its last bytes before it is destroyed. */
const CLOSE_LIMIT = 2000
/** Longest cause. */
const MAX_CAUSE = 40

/** The sockets of a client. */
export class TlsLinks {
  readonly #settings: TlsSettings
  readonly #isReset: boolean
  readonly #events: LinkEvents
  readonly #context
  readonly #sockets = new Map<number, TLSSocket>()
  /** Sockets that are being closed. */
  readonly #closing = new Set<TLSSocket>()
  #session: Buffer | undefined

  /** @param isReset whether connections are closed at once, with a reset that the descriptor is set to */
  constructor(settings: TlsSettings, isReset: boolean, events: LinkEvents) {
    this.#settings = settings
    this.#isReset = isReset
    this.#events = events
    const { ca, cert, key } = settings
    this.#context = createSecureContext({
      ...(ca !== null && { ca }),
      ...(cert !== null && { cert }),
      ...(key !== null && { key })
    })
  }

  /** Takes over a connected descriptor, and begins the handshake. */
  open(line: number): void {
    const { servername, host, insecure, resume, alpn } = this.#settings
    const session = resume ? this.#session : undefined
    const socket = connect({
      socket: new Socket({ fd: line, readable: true, writable: true }),
      secureContext: this.#context,
      rejectUnauthorized: !insecure,
      ...(servername === '' ? { host } : { servername }),
      ...(alpn.length > 0 && { ALPNProtocols: [...alpn] }),
      ...(session !== undefined && { session })
    })
    this.#sockets.set(line, socket)
    let cause: string | undefined
    socket.once('secureConnect', () => {
      if (this.#sockets.get(line) === socket) this.#events.secured(line, socket.isSessionReused())
    })
    if (resume) {
      socket.on('session', (fresh: Buffer) => {
        this.#session = fresh
      })
    }
    socket.on('data', (bytes: Buffer) => {
      if (this.#sockets.get(line) === socket) this.#events.received(line, bytes, bytes.length)
    })
    socket.on('drain', () => {
      if (this.#sockets.get(line) === socket) this.#events.drained(line)
    })
    socket.once('error', (error) => {
      cause = causeOf(error)
    })
    socket.on('error', () => {})
    socket.once('end', () => this.#onEnd(line, socket, undefined))
    socket.once('close', () => {
      this.#closing.delete(socket)
      this.#onEnd(line, socket, cause)
    })
  }

  /** Sends bytes. They are not copied, and must not change. */
  send(line: number, bytes: Uint8Array): void {
    this.#sockets.get(line)?.write(bytes)
  }

  /** Returns whether bytes wait for room. */
  hasUnsent(line: number): boolean {
    return this.#sockets.get(line)?.writableNeedDrain === true
  }

  /** Closes a connection after its last bytes. Returns false if the descriptor has no socket. */
  close(line: number): boolean {
    const socket = this.#sockets.get(line)
    if (socket === undefined) return false
    this.#sockets.delete(line)
    if (socket.destroyed || socket.closed) return true
    this.#closing.add(socket)
    const isSecured = socket.writable && socket.getCipher() !== undefined
    if (isSecured && !this.#isReset) socket.destroySoon()
    else socket.destroy()
    return true
  }

  /** Resolves when all sockets that were closed have given up their descriptors. */
  async settled(): Promise<void> {
    const late = setTimeout(() => {
      for (const socket of this.#closing) socket.destroy()
    }, CLOSE_LIMIT)
    await Promise.all([...this.#closing].map((socket) => new Promise((resolve) => socket.once('close', resolve))))
    clearTimeout(late)
  }

  #onEnd(line: number, socket: TLSSocket, cause: string | undefined): void {
    if (this.#sockets.get(line) === socket) this.#events.ended(line, cause)
  }
}

/** Returns the code of an error of TLS or of the system: `CERT_HAS_EXPIRED`, `ECONNRESET`. */
function causeOf(error: Error): string {
  const code = codeOf(error) ?? 'ERR_TLS'
  return code.replace(/\W/g, '_').slice(0, MAX_CAUSE)
}
