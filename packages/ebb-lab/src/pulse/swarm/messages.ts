/**
 * What agents and co-ordinators say to each other: JSON, each with the protocol's version, checked on arrival.
 *
 * A co-ordinator gives orders with numbers and repeats them until they are answered; an agent answers a repeated order again, and
 * does not do it again. So nothing is lost with a NATS server that restarts.
 */
import { z } from 'zod'

/** An agent and a co-ordinator with different ones refuse each other. */
export const PROTOCOL = 1

/** The largest message that is read or sent, bytes: NATS itself takes 1 MB by default. */
export const LARGEST = 262_144

/** Connections in one order, at most: as in a plan. */
const MOST = 10_000_000

const count = z.number().int().nonnegative()
const connections = count.max(MOST)
const ms = z.number().nonnegative()
/** A reading of somebody's monotonic clock. */
const clock = z.number()
/** Ids and secrets. */
const token = z.string().regex(/^[A-Za-z0-9]{16,64}$/)
/** Shown to a person: no control characters, nothing that turns the writing direction. */
const text = (longest: number) =>
  z
    .string()
    .max(longest)
    .regex(/^[^\p{Cc}\p{Cs}\p{Cf}\p{Zl}\p{Zp}]*$/u)
/** What people call an agent or a co-ordinator. */
export const nameSchema = text(100).min(1)
const name = nameSchema
const reason = text(1000)
const causes = z
  .record(
    // Causes are added up in objects, where some names are taken: `toString`.
    z.string().refine((cause) => /^[\w-]{1,40}$/.test(cause) && !(cause in {}), 'no cause'),
    count
  )
  .refine((by) => Object.keys(by).length <= 100, 'too many causes')

const capacity = z.object({
  /** Descriptors, over all processes that the agent may start. */
  descriptors: count,
  /** Local ports of one source address. */
  ports: count,
  /** Source addresses that it was given; 0: the kernel's choice. */
  sources: count
})

export type Capacity = z.infer<typeof capacity>

const opened = z.object({
  connected: count,
  failed: causes,
  abandoned: count,
  echoed: count,
  unanswered: causes,
  ms
})

/** How to connect: `ClientOptions`, as JSON has it. */
export const howSchema = z.object({
  server: z.object({ host: z.string().min(1).max(253), port: z.number().int().min(1).max(65_535) }),
  /** Connects per second of this agent; null: as fast as the server answers. */
  rate: z.number().positive().nullable(),
  timeout: z.number().positive(),
  close: z.enum(['fin', 'rst']),
  /** Base64. */
  payload: z.string().max(131_072, 'it must be 96 KiB at most').nullable(),
  active: z.number().min(0).max(1),
  expectEcho: z.boolean()
})

export type How = z.infer<typeof howSchema>

const toAgent = { v: z.literal(PROTOCOL), from: token, lease: token, seq: count }

/** From a co-ordinator to one agent. */
export const orderSchema = z.discriminatedUnion('order', [
  /** Be mine. */
  z.object({ ...toAgent, order: z.literal('lease'), who: name }),
  /** Prepare to hold `n` connections. */
  z.object({ ...toAgent, order: z.literal('begin'), n: connections, how: howSchema }),
  /** Connect `n` of the pulse's `of`, beginning at `at` of the agent's clock. */
  z.object({ ...toAgent, order: z.literal('connect'), pulse: count, n: connections, of: connections, at: clock }),
  /** Give up what is connecting. */
  z.object({ ...toAgent, order: z.literal('abort') }),
  /** Tell what the server closed since this was last asked. */
  z.object({ ...toAgent, order: z.literal('lost') }),
  /** Close all, beginning at `at` of the agent's clock. */
  z.object({ ...toAgent, order: z.literal('close'), at: clock }),
  /** Record the server beside you. */
  z.object({ ...toAgent, order: z.literal('record') }),
  /** Tell what was recorded from line number `first` on; what is before it has arrived. */
  z.object({ ...toAgent, order: z.literal('lines'), first: count }),
  /** Close all, and be free. */
  z.object({ ...toAgent, order: z.literal('end') })
])

export type Order = z.infer<typeof orderSchema>

/** From a co-ordinator to all: it is there. `spread`: answer within so many ms, each at another moment. */
export const beatSchema = z.object({
  v: z.literal(PROTOCOL),
  from: token,
  lease: token,
  t0: clock,
  spread: ms.max(1000)
})

const toCoordinator = { v: z.literal(PROTOCOL), agent: token, lease: token }
const toOrder = { ...toCoordinator, tell: z.literal('answer'), seq: count }

const answerSchema = z.discriminatedUnion('answer', [
  /** To `lease`. `records`: the port of the server beside it. */
  z.object({
    ...toOrder,
    answer: z.literal('granted'),
    capacity,
    records: z.number().int().min(1).max(65_535).nullable()
  }),
  /** To `lease`: held by somebody else, who last spoke so long ago. */
  z.object({ ...toOrder, answer: z.literal('taken'), by: name, silence: ms }),
  /** To any: it will not, or cannot. */
  z.object({ ...toOrder, answer: z.literal('refused'), reason }),
  /** To `begin`, `abort`, `close` and `end`. */
  z.object({ ...toOrder, answer: z.literal('done') }),
  /** To `connect`. `latency`: an HdrHistogram (V2, compressed, base64) of this pulse's; `began`: by the agent's clock. */
  z.object({ ...toOrder, answer: z.literal('connected'), opened, latency: z.string().max(200_000), began: clock }),
  z.object({ ...toOrder, answer: z.literal('lost'), lost: causes }),
  /** To `record`: a recording's header, and its present time by the agent's clock when that read `at`. */
  z.object({ ...toOrder, answer: z.literal('recording'), header: z.unknown(), at: clock, t: ms }),
  /** To `lines`: of a recording. `ended`: no more will come. */
  z.object({
    ...toOrder,
    answer: z.literal('lines'),
    first: count,
    lines: z.array(z.unknown()).max(2000),
    ended: z.boolean()
  })
])

export type Answer = z.infer<typeof answerSchema>

/** From an agent to its co-ordinator. */
export const tellSchema = z.discriminatedUnion('tell', [
  answerSchema,
  /** To a beat: when that came, when this went, and how its connections are. */
  z.object({ ...toCoordinator, tell: z.literal('beat'), t0: clock, t1: clock, t2: clock, open: count, failed: count }),
  /** It ends, and closes all. */
  z.object({ ...toCoordinator, tell: z.literal('leaving'), reason })
])

export type Tell = z.infer<typeof tellSchema>

/** How an agent makes itself known. The same through NATS's service protocol, in strings. */
export const offerSchema = z.object({
  id: token,
  /** The protocol version. */
  protocol: z
    .string()
    .regex(/^\d{1,9}$/)
    .transform(Number),
  name
})

export type Offer = z.infer<typeof offerSchema>

/** A message that is not one: what is wrong with it. */
export class MessageError extends Error {}

/** @throws {MessageError} when it is too large to be sent */
export function encode(message: unknown): Uint8Array {
  const bytes = Buffer.from(JSON.stringify(message))
  if (bytes.length > LARGEST) {
    throw new MessageError(`a message of ${bytes.length} bytes is larger than the ${LARGEST} that the other side reads`)
  }
  return bytes
}

/** @throws {MessageError} for what is too large, no JSON, of another version, or not as `schema` has it */
export function decode<T>(schema: z.ZodType<T>, bytes: Uint8Array): T {
  if (bytes.length > LARGEST)
    throw new MessageError(`${bytes.length} bytes are more than the ${LARGEST} that a message has at most`)
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString())
  } catch {
    throw new MessageError('it is not JSON')
  }
  const version = (value as { v?: unknown } | null)?.v
  if (typeof version === 'number' && version !== PROTOCOL) {
    throw new MessageError(
      `it speaks version ${version} of the protocol, and this is version ${PROTOCOL}: use the same ebb on both sides`
    )
  }
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new MessageError(`${issue?.path.join('.') || 'it'}: ${issue?.message ?? 'not understood'}`)
}
