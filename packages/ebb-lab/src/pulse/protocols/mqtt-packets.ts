/** Packets of MQTT 3.1.1: a type and flags in one byte, the length of the rest in one to four bytes, the rest. */

// Types, in the upper half of the first byte.
export const CONNACK = 0x20
export const PUBLISH = 0x30
export const PUBACK = 0x40
export const SUBACK = 0x90
export const PINGRESP = 0xd0
const CONNECT = 0x10
/** With the flags that the standard demands. */
const SUBSCRIBE = 0x82

/** Packets that are always the same. */
export const PINGREQ: Buffer = Buffer.from([0xc0, 0])
export const DISCONNECT: Buffer = Buffer.from([0xe0, 0])

/** Size of the body of an acknowledgement. */
export const ACK_SIZE = 2

/** Longest packet that is taken in, bytes. */
const MAX_PACKET = 16 * 2 ** 20

/** Protocol level of MQTT 3.1.1. */
const LEVEL = 4
const CLEAN_SESSION = 0x02
const HAS_PASSWORD = 0x40
const HAS_USERNAME = 0x80

/** Returns a CONNECT packet. */
export function connectPacket({
  clientId,
  username,
  password,
  keepAlive
}: {
  clientId: string
  username: string | null
  password: string | null
  /** Seconds. */
  keepAlive: number
}): Buffer {
  const flags = CLEAN_SESSION | (username === null ? 0 : HAS_USERNAME) | (password === null ? 0 : HAS_PASSWORD)
  return packet(CONNECT, [
    textOf('MQTT'),
    Buffer.from([LEVEL, flags, keepAlive >> 8, keepAlive & 0xff]),
    textOf(clientId),
    ...(username === null ? [] : [textOf(username)]),
    ...(password === null ? [] : [textOf(password)])
  ])
}

/** Returns a SUBSCRIBE packet for all filters. */
export function subscribePacket(packetId: number, filters: readonly string[], qos: number): Buffer {
  return packet(SUBSCRIBE, [idOf(packetId), ...filters.flatMap((filter) => [textOf(filter), Buffer.from([qos])])])
}

/** Returns a PUBLISH packet. @param packetId used with a QoS of 1 */
export function publishPacket(topic: string, payload: Uint8Array, qos: 0 | 1, packetId: number): Buffer {
  return packet(PUBLISH | (qos << 1), [textOf(topic), ...(qos === 0 ? [] : [idOf(packetId)]), payload])
}

/** Returns a PUBACK packet. */
export function pubackPacket(packetId: number): Buffer {
  return packet(PUBACK, [idOf(packetId)])
}

/** Returns the packet id at an offset. */
export function packetIdOf(bytes: Buffer, at: number): number {
  return bytes.readUInt16BE(at)
}

function packet(first: number, body: readonly Uint8Array[]): Buffer {
  const length = body.reduce((sum, part) => sum + part.length, 0)
  const head = [first]
  let rest = length
  do {
    head.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0))
    rest >>>= 7
  } while (rest > 0)
  return Buffer.concat([Buffer.from(head), ...body])
}

function textOf(text: string): Buffer {
  const bytes = Buffer.from(text)
  return Buffer.concat([idOf(bytes.length), bytes])
}

function idOf(id: number): Buffer {
  return Buffer.from([id >> 8, id & 0xff])
}

/** Bytes of a packet that has arrived in part. */
interface Part {
  chunks: Buffer[]
  length: number
  /** Length of the whole packet; 0 if it is not known yet. */
  whole: number
}

/** Receives a packet: its first byte, and where its body starts and ends. Returns whether to read on. */
type OnPacket = (first: number, bytes: Buffer, start: number, end: number) => boolean

/** Finds the packets of many connections. */
export class PacketReader {
  readonly #parts = new Map<number, Part>()

  /** Returns whether a packet has arrived in part. */
  isWithin(line: number): boolean {
    return this.#parts.has(line)
  }

  /** Drops what has arrived in part. */
  forget(line: number): void {
    if (this.#parts.size > 0) this.#parts.delete(line)
  }

  /** Calls `onPacket` for each whole packet. Returns false if the bytes are no packet. */
  read(line: number, given: Buffer, length: number, onPacket: OnPacket): boolean {
    let bytes = given
    let end = length
    const part = this.#parts.get(line)
    if (part !== undefined) {
      part.chunks.push(Buffer.from(given.subarray(0, length)))
      part.length += length
      if (part.length < part.whole) return true
      bytes = Buffer.concat(part.chunks, part.length)
      end = bytes.length
      this.#parts.delete(line)
    }
    let at = 0
    while (at < end) {
      const start = startOf(bytes, at, end)
      const whole = start === 0 ? 0 : start + lengthOf(bytes, at + 1)
      if (start === -1 || whole - at > MAX_PACKET) return false
      if (whole === 0 || whole > end) {
        const rest = Buffer.from(bytes.subarray(at, end))
        this.#parts.set(line, { chunks: [rest], length: rest.length, whole: Math.max(0, whole - at) })
        return true
      }
      if (!onPacket(bytes[at] as number, bytes, start, whole)) return true
      at = whole
    }
    return true
  }
}

/** Returns where the body of the packet at `at` starts; 0 if that has not arrived, -1 if it has no valid length. */
function startOf(bytes: Buffer, at: number, end: number): number {
  for (let i = 1; i <= 4; i++) {
    if (at + i >= end) return 0
    if ((bytes[at + i] as number) < 0x80) return at + i + 1
  }
  return -1
}

function lengthOf(bytes: Buffer, from: number): number {
  let length = 0
  for (let i = 0; i < 4; i++) {
    const byte = bytes[from + i] as number
    length |= (byte & 0x7f) << (7 * i)
    if (byte < 0x80) break
  }
  return length
}
