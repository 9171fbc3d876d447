/** A session of Node's inspector: the Chrome DevTools Protocol over a WebSocket. */
import { randomBytes } from 'node:crypto'
import { get, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { frames } from 'ebb/sys'
import { DoctorError } from '../../units/errors.js'

function failed(why: string): DoctorError {
  return new DoctorError(why, 'ERR_EBB_INSPECT_FAILED')
}

/** Milliseconds that an inspector may take to say who it is. */
const LONGEST_LOOK = 1000
/** An answer is not longer than this many bytes. */
const LONGEST_ANSWER = 16_000_000

/** Returns the URL of the WebSocket of the inspector of Node at a port; undefined if none is there. */
export async function targetAt(port: number): Promise<string | undefined> {
  try {
    const text = await textOf(`http://127.0.0.1:${port}/json/list`)
    const [target] = JSON.parse(text) as { type?: string; webSocketDebuggerUrl?: string }[]
    return target?.type === 'node' ? target.webSocketDebuggerUrl : undefined
  } catch {
    return undefined
  }
}

function textOf(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false, timeout: LONGEST_LOOK }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part
        if (text.length > LONGEST_ANSWER) request.destroy()
      })
      response.on('end', () => resolve(text)).on('error', reject)
    })
    request.on('timeout', () => request.destroy()).on('error', reject)
    request.on('close', () => reject(failed('it closed the connection')))
  })
}

interface Message {
  id?: number
  error?: { message: string }
  result?: {
    result?: { value?: unknown }
    exceptionDetails?: { text: string; exception?: { description?: string } }
  }
}

/** A connection to an inspector. It does one thing at a time. */
export class InspectorSession {
  readonly #socket: Socket
  #bytes = Buffer.alloc(0)
  #text = Buffer.alloc(0)
  #id = 0
  #onMessage: (message: Message) => void = () => {}
  #onFailure: (error: Error) => void = () => {}

  private constructor(socket: Socket, head: Buffer) {
    this.#socket = socket
    socket.on('data', (bytes: Buffer) => this.#receive(bytes))
    socket.on('error', (error) => this.#onFailure(error))
    socket.on('close', () => this.#onFailure(failed('it closed the connection')))
    if (head.length > 0) this.#receive(head)
  }

  /** @throws DoctorError `ERR_EBB_INSPECT_BUSY` after the deadline */
  static open(url: string, deadline: number): Promise<InspectorSession> {
    return within(deadline, (resolve, reject) => {
      const request = get(url.replace(/^ws:/, 'http:'), {
        agent: false,
        headers: {
          Connection: 'Upgrade',
          Upgrade: 'websocket',
          'Sec-WebSocket-Version': 13,
          'Sec-WebSocket-Key': randomBytes(16).toString('base64')
        }
      })
      request.on('upgrade', (_: IncomingMessage, socket: Socket, head: Buffer) =>
        resolve(new InspectorSession(socket, head))
      )
      request.on('response', ({ statusCode }) => reject(failed(`it refused the WebSocket (${statusCode})`)))
      request.on('error', reject)
      return () => request.destroy()
    })
  }

  /**
   * Evaluates an expression and returns its value. A program whose event loop is busy with JavaScript answers, too,
   * unless the value is a promise.
   *
   * @param awaitPromise whether the value is a promise, to be waited for
   * @throws DoctorError `ERR_EBB_INSPECT_BUSY` after the deadline, `ERR_EBB_INSPECT_FAILED` if
   *   the expression throws
   */
  evaluate<T>(expression: string, deadline: number, awaitPromise = false): Promise<T> {
    return within(deadline, (resolve, reject) => {
      const id = ++this.#id
      this.#onFailure = reject
      this.#onMessage = (message) => {
        if (message.id !== id) return
        const { error, result } = message
        const thrown = result?.exceptionDetails
        if (error !== undefined) reject(failed(error.message))
        else if (thrown !== undefined) reject(failed(firstLine(thrown.exception?.description ?? thrown.text)))
        else resolve(result?.result?.value as T)
      }
      const params = { expression, awaitPromise, returnByValue: true, silent: true }
      this.#send(frames.TEXT, Buffer.from(JSON.stringify({ id, method: 'Runtime.evaluate', params })))
      return () => {}
    })
  }

  close(): void {
    if (this.#socket.destroyed) return
    this.#onFailure = () => {}
    this.#send(frames.CLOSE, Buffer.alloc(0))
    this.#socket.destroySoon()
  }

  /** Sends a frame as a client must: masked, with a mask that changes nothing. */
  #send(opcode: number, payload: Buffer): void {
    const frame = frames.frameOf(opcode, payload)
    const header = Buffer.from(frame.subarray(0, frame.length - payload.length))
    header[1] = (header[1] as number) | 0x80
    this.#socket.write(Buffer.concat([header, Buffer.alloc(4), payload]))
  }

  #receive(bytes: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes])
    for (;;) {
      const frame = firstFrame(this.#bytes)
      if (frame === undefined) {
        if (this.#bytes.length > LONGEST_ANSWER) this.#socket.destroy()
        return
      }
      this.#bytes = this.#bytes.subarray(frame.end)
      if (frame.opcode === frames.PING) this.#send(frames.PONG, frame.payload)
      if (frame.opcode === frames.CLOSE) this.#socket.destroy()
      if (frame.opcode !== frames.TEXT && frame.opcode !== frames.CONTINUATION) continue
      this.#text = Buffer.concat([this.#text, frame.payload])
      if (!frame.isLast) continue
      const text = this.#text.toString()
      this.#text = Buffer.alloc(0)
      this.#onMessage(JSON.parse(text) as Message)
    }
  }
}

/** Returns the first frame of a server, which is not masked; undefined if it is not complete. */
function firstFrame(bytes: Buffer): { opcode: number; isLast: boolean; payload: Buffer; end: number } | undefined {
  if (bytes.length < 2) return undefined
  const short = (bytes[1] as number) & 0x7f
  const start = short === 126 ? 4 : short === 127 ? 10 : 2
  if (bytes.length < start) return undefined
  const length = short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short
  const end = start + length
  if (bytes.length < end) return undefined
  const first = bytes[0] as number
  return { opcode: first & 0x0f, isLast: first >= 0x80, payload: bytes.subarray(start, end), end }
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] as string
}

/** @param start begins, and returns what to do if the time is over */
function within<T>(
  deadline: number,
  start: (resolve: (value: T) => void, reject: (error: Error) => void) => () => void
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => {
        stop()
        reject(new DoctorError('it has not answered in time', 'ERR_EBB_INSPECT_BUSY'))
      },
      Math.max(0, deadline - performance.now())
    )
    const ended =
      <A>(then: (value: A) => void) =>
      (value: A): void => {
        clearTimeout(timer)
        then(value)
      }
    const stop = start(ended(resolve), ended(reject))
  })
}
