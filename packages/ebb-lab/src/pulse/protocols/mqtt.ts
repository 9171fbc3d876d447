/** MQTT 3.1.1 over TCP: a session that subscribes and publishes, at QoS 0 and 1. */
import { addressOf, grown, resized } from 'ebb/sys'
import { Template } from '../template.js'
import type { Message } from './message.js'
import {
  ACK_SIZE,
  CONNACK,
  connectPacket,
  DISCONNECT,
  PacketReader,
  PINGREQ,
  PINGRESP,
  PUBACK,
  PUBLISH,
  packetIdOf,
  pubackPacket,
  publishPacket,
  SUBACK,
  subscribePacket
} from './mqtt-packets.js'
import type { MqttSettings, Protocol, Wire } from './protocol.js'

/** Return code of a refused subscription. */
const REFUSED = 0x80
/** Packet id of the only SUBSCRIBE of a session. */
const SUBSCRIBE_ID = 1
/** Packet ids are 16 bits; those of PUBLISH go from 2 on. */
const MAX_ID = 0xffff

// What a session expects next.
const AWAITS_CONNACK = 0
const AWAITS_SUBACK = 1
const READY = 2

/** Connects, subscribes, publishes, and pings. */
export class MqttProtocol implements Protocol {
  readonly awaitsAnswer: boolean
  readonly needsOrder = false
  readonly #wire: Wire
  readonly #settings: MqttSettings
  readonly #message: Message | null
  readonly #expectEcho: boolean
  readonly #clientId: Template
  readonly #username: Template | null
  readonly #password: Template | null
  readonly #topic: Template | null
  readonly #filters: readonly Template[]
  /** The publication, if it is always the same. */
  readonly #fixed: Buffer | undefined
  readonly #fixedAt: number
  readonly #reader = new PacketReader()
  #phase = new Uint8Array(0)
  /** By line: packet id of the last publication, if it awaits its acknowledgement. */
  #packetId = new Uint16Array(0)
  /** Publications that are awaited back, if they differ. */
  readonly #awaited = new Map<number, Buffer>()

  constructor(
    wire: Wire,
    settings: MqttSettings,
    { message, expectEcho }: { message: Message | null; expectEcho: boolean }
  ) {
    this.#wire = wire
    this.#settings = settings
    this.#message = message
    this.#expectEcho = expectEcho
    this.awaitsAnswer = message !== null && (expectEcho || settings.qos === 1)
    this.#clientId = new Template(settings.clientId)
    this.#username = templateOf(settings.username)
    this.#password = templateOf(settings.password)
    this.#topic = templateOf(settings.topic)
    this.#filters = settings.subscribe.map((filter) => new Template(filter))
    if (settings.qos === 0 && this.#topic?.isFixed && message?.fixed !== undefined) {
      this.#fixed = publishPacket(settings.topic ?? '', message.fixed, 0, 0)
    }
    this.#fixedAt = this.#fixed === undefined ? 0 : addressOf(this.#fixed)
  }

  reserve(size: number): void {
    if (size <= this.#phase.length) return
    const length = grown(this.#phase.length, size)
    this.#phase = resized(this.#phase, new Uint8Array(length))
    this.#packetId = resized(this.#packetId, new Uint16Array(length))
  }

  begin(line: number): void {
    this.#phase[line] = AWAITS_CONNACK
    this.#packetId[line] = SUBSCRIBE_ID
    const values = { id: this.#wire.idOf(line), n: 0 }
    const { keepAlive } = this.#settings
    const packet = connectPacket({
      clientId: this.#clientId.fill(values),
      username: this.#username?.fill(values) ?? null,
      password: this.#password?.fill(values) ?? null,
      keepAlive
    })
    this.#wire.send(line, packet)
  }

  speak(line: number): void {
    const wire = this.#wire
    if (this.#fixed !== undefined) {
      wire.send(line, this.#fixed, this.#fixedAt)
      return
    }
    const { qos } = this.#settings
    const values = { id: wire.idOf(line), n: wire.sentBy(line) }
    const payload = (this.#message as Message).bytesFor(values.id, values.n)
    if (this.#expectEcho && this.#message?.fixed === undefined) this.#awaited.set(line, payload)
    const last = this.#packetId[line] as number
    const packetId = last === MAX_ID ? SUBSCRIBE_ID + 1 : last + 1
    this.#packetId[line] = packetId
    wire.send(line, publishPacket(this.#topic?.fill(values) ?? '', payload, qos, packetId))
  }

  ping(line: number): void {
    this.#wire.send(line, PINGREQ)
  }

  receive(line: number, bytes: Buffer, length: number): void {
    // A server of another protocol may send something that looks like the beginning of a long packet.
    const isOther = bytes[0] !== CONNACK || (length > 1 && bytes[1] !== ACK_SIZE)
    if (this.#phase[line] === AWAITS_CONNACK && !this.#reader.isWithin(line) && isOther) {
      this.#wire.refuse(line, 'GARBAGE')
      return
    }
    const isValid = this.#reader.read(line, bytes, length, (type, packet, start, end) => {
      const cause = this.#onPacket(line, type, packet, start, end)
      if (cause !== undefined) this.#wire.refuse(line, cause)
      return cause === undefined
    })
    if (!isValid) this.#wire.refuse(line, 'GARBAGE')
  }

  ended(line: number): string {
    return this.#reader.isWithin(line) ? 'TRUNCATED' : 'FIN'
  }

  lastWords(line: number): Uint8Array | undefined {
    return this.#phase[line] === READY ? DISCONNECT : undefined
  }

  forget(line: number): void {
    this.#reader.forget(line)
    if (this.#awaited.size > 0) this.#awaited.delete(line)
  }

  /** Handles a packet, whose body is from `start` to `end`. Returns why it is refused, or undefined. */
  #onPacket(line: number, first: number, bytes: Buffer, start: number, end: number): string | undefined {
    const type = first & 0xf0
    const phase = this.#phase[line]
    if (phase === AWAITS_CONNACK) return type === CONNACK ? this.#onConnack(line, bytes, start, end) : 'GARBAGE'
    switch (type) {
      case SUBACK:
        return phase === AWAITS_SUBACK ? this.#onSuback(line, bytes, start, end) : 'GARBAGE'
      case PUBACK:
        return this.#onPuback(line, bytes, start, end)
      case PUBLISH:
        return this.#onPublish(line, first, bytes, start, end)
      case PINGRESP:
        this.#wire.ponged(line)
        return end === start ? undefined : 'GARBAGE'
      default:
        return 'GARBAGE'
    }
  }

  #onConnack(line: number, bytes: Buffer, start: number, end: number): string | undefined {
    const code = bytes[start + 1]
    if (end - start !== ACK_SIZE || code === undefined) return 'GARBAGE'
    if (code !== 0) return `CONNACK_${code}`
    if (this.#filters.length === 0) this.#ready(line)
    else {
      this.#phase[line] = AWAITS_SUBACK
      const values = { id: this.#wire.idOf(line), n: 0 }
      const filters = this.#filters.map((filter) => filter.fill(values))
      this.#wire.send(line, subscribePacket(SUBSCRIBE_ID, filters, this.#settings.qos))
    }
    return undefined
  }

  #onSuback(line: number, bytes: Buffer, start: number, end: number): string | undefined {
    if (end - start !== ACK_SIZE + this.#filters.length) return 'GARBAGE'
    if (packetIdOf(bytes, start) !== SUBSCRIBE_ID) return 'GARBAGE'
    for (let at = start + ACK_SIZE; at < end; at++) {
      const code = bytes[at] as number
      if (code === REFUSED) return `SUBACK_${REFUSED}`
      if (code > 2) return 'GARBAGE'
    }
    this.#ready(line)
    return undefined
  }

  #ready(line: number): void {
    this.#phase[line] = READY
    this.#wire.opened(line)
  }

  #onPuback(line: number, bytes: Buffer, start: number, end: number): string | undefined {
    if (end - start !== ACK_SIZE) return 'GARBAGE'
    const isAwaited = packetIdOf(bytes, start) === this.#packetId[line] && this.#wire.isAwaiting(line)
    if (isAwaited && !this.#expectEcho) this.#wire.answered(line)
    return undefined
  }

  #onPublish(line: number, first: number, bytes: Buffer, start: number, end: number): string | undefined {
    const qos = (first >> 1) & 3
    if (end - start < 2 || qos > 1) return 'GARBAGE'
    const at = start + 2 + bytes.readUInt16BE(start)
    const payloadAt = at + (qos === 0 ? 0 : 2)
    if (payloadAt > end) return 'GARBAGE'
    if (qos === 1) this.#wire.send(line, pubackPacket(packetIdOf(bytes, at)))
    const isEcho = this.#expectEcho && this.#wire.isAwaiting(line) && this.#isAwaited(line, bytes, payloadAt, end)
    if (isEcho) this.#wire.answered(line)
    else this.#wire.traffic.received++
    return undefined
  }

  /** Whether a publication is the one that this connection has sent. Others may publish to the same topic. */
  #isAwaited(line: number, bytes: Buffer, start: number, end: number): boolean {
    const expected = this.#message?.fixed ?? this.#awaited.get(line)
    return expected !== undefined && expected.compare(bytes, start, end) === 0
  }
}

function templateOf(text: string | null): Template | null {
  return text === null ? null : new Template(text)
}
