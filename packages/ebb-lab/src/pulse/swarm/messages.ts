/**
 * The protocol between agents and coordinators: JSON messages with a version, validated on arrival.
 *
 * A coordinator numbers its orders and repeats each of them until it is answered. An agent answers a repeated order
 * again, but does not execute it again. So no order is lost when a NATS server restarts.
 */
import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { LabError } from '../../units/errors.js'
import { type Plan, planSchema } from '../plan.js'
import { MAX_TARGETS } from '../shared-crowd.js'
import { protocolSchema, tlsSchema } from './protocol-schemas.js'

/** Version of the protocol. An agent and a coordinator with different versions refuse each other. */
export const PROTOCOL = 2

/** Maximum size of a message in bytes. NATS itself accepts 1 MB by default. */
export const MAX_MESSAGE = 262_144

/** Maximum number of connections of one order, as in a plan. */
const MAX_CONNECTIONS = 10_000_000

/** A whole number. */
export const countSchema = z.number().int().nonnegative()
const count = countSchema
const connections = count.max(MAX_CONNECTIONS)
const ms = z.number().nonnegative()
/** A reading of a monotonic clock, in ms. */
const clock = z.number()
/** An id or a secret. */
export const tokenSchema = z.string().regex(/^[A-Za-z0-9]{16,64}$/)
const token = tokenSchema
/** Text for people, without control characters and characters that change the writing direction. */
const text = (maxLength: number) =>
  z
    .string()
    .max(maxLength)
    .regex(/^[^\p{Cc}\p{Cs}\p{Cf}\p{Zl}\p{Zp}]*$/u)
/** Name of an agent or a coordinator for people. */
export const nameSchema = text(100).min(1)
const name = nameSchema
const reason = text(1000)
/** Maximum number of causes in counts of an agent. A server can make causes up, as codes of a close. */
export const MAX_CAUSES = 100
/** Counts by cause, of all agents. */
export const causesSchema = z.record(
  // Causes become keys of plain objects, where names such as `toString` have a meaning.
  z.string().refine((cause) => /^[\w-]{1,40}$/.test(cause) && !(cause in {}), 'no cause'),
  count
)
const causes = causesSchema.refine((by) => Object.keys(by).length <= MAX_CAUSES, 'too many causes')

const capacity = z.object({
  /** Number of descriptors, over all processes that the agent may start. */
  descriptors: count,
  /** Number of local ports of one source address. */
  ports: count,
  /** Number of source addresses of the agent; 0: the kernel chooses. */
  sources: count
})

/** What limits the connections of an agent. */
export type Capacity = z.infer<typeof capacity>

/** Counts by HTTP status. */
const statuses = z.record(z.string().regex(/^\d{3}$/), count)

/** A server for people. */
const target = text(2000)
/** Connects to one of several servers, of all agents. */
export const targetResultSchema = z.object({ target, connected: count, failed: causesSchema })

const trafficOf = <T extends z.ZodType>(unanswered: T) =>
  z.object({
    sent: count,
    answered: count,
    received: count,
    pings: count,
    pongs: count,
    late: count,
    unanswered,
    statuses,
    resumed: count
  })
/** What the connections of all agents have sent and received. */
export const trafficSchema = trafficOf(causesSchema)
const traffic = trafficOf(causes)

const server = z.object({
  host: z.string().min(1).max(253),
  port: z.number().int().min(1).max(65_535),
  /** The server for people. Default: `HOST:PORT`. */
  text: target.optional(),
  /** What connections say. Default: bare TCP. */
  protocol: protocolSchema.optional(),
  /** TLS in front of the protocol. Default: none. */
  tls: tlsSchema.optional()
})

const opened = z.object({
  connected: count,
  failed: causes,
  abandoned: count,
  late: count,
  replaced: count,
  echoed: count,
  unanswered: causes,
  ms,
  targets: z
    .array(targetResultSchema.extend({ failed: causes }))
    .max(MAX_TARGETS)
    .optional()
})

/** An HdrHistogram (V2, compressed, base64). Four of them fit into a message. */
const histogram = z.string().max(60_000)
const latency = z.object({ corrected: histogram, uncorrected: histogram.nullable() })
/** Latencies of answers, or null if there were none, with their number. */
const answers = { answers: latency.nullable(), answered: count }
/** Latencies of a crowd. */
export const latenciesSchema = z.object({ connects: latency, answers: latency.nullable() })

/** How to connect: `ClientOptions` in JSON. */
export const connectSettingsSchema = z
  .object({
    server,
    /** More servers. The connections are shared out evenly over all. */
    others: z
      .array(server)
      .max(MAX_TARGETS - 1)
      .optional(),
    /** Connects per second of this agent, or null for as fast as the server answers. */
    rate: z.number().positive().nullable(),
    /** Milliseconds. */
    timeout: z.number().positive(),
    close: z.enum(['fin', 'rst']),
    /** Payload in base64, or null. */
    payload: z.string().max(131_072, 'it must be 96 KiB at most').nullable(),
    /** Whether the payload is a text, in which `{id}`, `{n}` and `{time}` stand for values. Default: it is bytes. */
    isText: z.boolean().optional(),
    /** Share of connections that send the payload. */
    active: z.number().min(0).max(1),
    expectEcho: z.boolean(),
    /** Milliseconds between two messages, and between two pings. Default: one message, and no pings. */
    every: ms.optional(),
    ping: z.number().positive().optional()
  })
  .refine(
    ({ server, others = [], payload }) =>
      [server, ...others].every(
        ({ protocol }) =>
          protocol?.protocol !== 'mqtt' || (protocol.topic === null) === (payload === null || payload === '')
      ),
    'MQTT needs a topic and a payload, or neither'
  )

/** How to connect. */
export type ConnectSettings = z.infer<typeof connectSettingsSchema>

/** A plan in JSON, which has no `Infinity`. */
export const planJsonSchema = z.object({
  big: connections,
  iterations: count,
  bigSeparation: ms,
  small: connections,
  smallSeparation: ms,
  linger: ms,
  /** Null: no end. */
  pulses: count.nullable()
})

/** A plan in JSON. */
export type PlanJson = z.infer<typeof planJsonSchema>

const part = z.object({
  plan: planJsonSchema,
  /** Number of connections of this agent in a big and in a small pulse. */
  big: connections,
  small: connections,
  /** Index of the next pulse. */
  first: count,
  /** Milliseconds without a coordinator after which the agent closes everything. */
  grace: ms
})

/** An agent's part of a plan. With it, the agent goes on when it loses its coordinator. */
export type Part = z.infer<typeof part>

/** Encodes a plan for a message, because JSON has no `Infinity`. */
export function planToJson(plan: Plan): PlanJson {
  return { ...plan, pulses: plan.pulses === Number.POSITIVE_INFINITY ? null : plan.pulses }
}

/**
 * Decodes a plan of a message.
 *
 * @throws ZodError for a plan that is not valid
 */
export function planFromJson(plan: PlanJson): Plan {
  return planSchema.parse({ ...plan, pulses: plan.pulses ?? Number.POSITIVE_INFINITY })
}

/** Numbers of the connections of one agent: `IdRange`. */
const ids = z.object({ first: count, count, next: count, step: count.min(1) })

/**
 * Result of a pulse at one agent. `latencies`: those of this pulse, `answered` of them of answers. `began`: start by
 * the agent's clock.
 */
const pulseResult = z.object({
  opened,
  latencies: latenciesSchema,
  answered: count,
  began: clock
})

/** Result of a pulse at one agent. */
export type PulseResult = z.infer<typeof pulseResult>

const toAgent = { v: z.literal(PROTOCOL), from: token, lease: token, seq: count }

/** An order from a coordinator to one agent. */
export const orderSchema = z.discriminatedUnion('order', [
  /** Asks for the agent's lease. */
  z.object({ ...toAgent, order: z.literal('lease'), who: name }),
  /** Asks an agent that goes on alone, or has kept results, for the lease of the same run. */
  z.object({ ...toAgent, order: z.literal('resume'), who: name }),
  /** Prepares to hold `n` connections. With a part of the plan, the agent can go on alone. */
  z.object({
    ...toAgent,
    order: z.literal('begin'),
    n: connections,
    how: connectSettingsSchema,
    ids,
    part: part.optional()
  }),
  /**
   * Opens `n` of the `of` connections of a pulse, when the agent's clock reads `at`. `rate`: connects per second, in
   * place of that of `begin`. `replace`: each takes the place of an open connection.
   */
  z.object({
    ...toAgent,
    order: z.literal('connect'),
    pulse: count,
    n: connections,
    of: connections,
    at: clock,
    rate: z.number().positive().optional(),
    replace: z.boolean().optional()
  }),
  /** Cancels connects in progress. */
  z.object({ ...toAgent, order: z.literal('abort') }),
  /** Asks for the connections that the server closed since the last such order. */
  z.object({ ...toAgent, order: z.literal('lost') }),
  /** Asks for what the connections have sent and received since the last such order. */
  z.object({ ...toAgent, order: z.literal('traffic') }),
  /** Closes all connections, when the agent's clock reads `at`. */
  z.object({ ...toAgent, order: z.literal('close'), at: clock }),
  /** Closes `n` connections. */
  z.object({ ...toAgent, order: z.literal('shrink'), n: connections }),
  /** Asks for the result of a pulse that the agent made alone. Results of earlier pulses may be forgotten. */
  z.object({ ...toAgent, order: z.literal('result'), pulse: count }),
  /** Ends the agent's part of the plan: closes all connections, and keeps the results. */
  z.object({ ...toAgent, order: z.literal('halt') }),
  /**
   * Begins to record the server beside the agent, which is to hold so many connections. An agent with a command for the
   * server starts the server first. The command is the agent's own: no message contains one.
   */
  z.object({ ...toAgent, order: z.literal('record'), connections }),
  /** Asks for the lines of the recording from number `first` on. The lines before it have arrived. */
  z.object({ ...toAgent, order: z.literal('lines'), first: count }),
  /** Ends the recording, and the server if the agent has started it. */
  z.object({ ...toAgent, order: z.literal('stop') }),
  /** Closes all connections and ends the lease. */
  z.object({ ...toAgent, order: z.literal('end') })
])

/** An order from a coordinator to one agent. */
export type Order = z.infer<typeof orderSchema>

/**
 * A heartbeat from a coordinator to all its agents. `spread`: each agent answers at a random time within so many ms, so
 * that the answers of many agents do not come at once.
 */
export const beatSchema = z.object({
  v: z.literal(PROTOCOL),
  from: token,
  lease: token,
  t0: clock,
  spread: ms.max(1000)
})

const toCoordinator = { v: z.literal(PROTOCOL), agent: token, lease: token }
const answerTo = { ...toCoordinator, tell: z.literal('answer'), seq: count }

const answerSchema = z.discriminatedUnion('answer', [
  /**
   * Answer to `lease`. `records`: port of the server that the agent records. `startsServer`: the agent starts a fresh
   * server for each recording.
   */
  z.object({
    ...answerTo,
    answer: z.literal('granted'),
    capacity,
    records: z.number().int().min(1).max(65_535).nullable(),
    startsServer: z.boolean()
  }),
  /**
   * Answer to `lease` and `resume`: coordinator `by` has it, and has been silent for `silence` ms. `alone`: the agent
   * goes on with the run of this coordinator for so many ms at most, or null.
   */
  z.object({ ...answerTo, answer: z.literal('taken'), by: name, silence: ms, alone: ms.nullable() }),
  /** Answer to `resume`: the agent has ended its part of the plan, and has kept the results. */
  z.object({ ...answerTo, answer: z.literal('kept') }),
  /**
   * Answer to `result`. `result`: null while the pulse is not over, and if the agent took no part in it. `lost`:
   * connections that the server closed first. `traffic`: what was sent and received in the whole pulse. `next`: index
   * of the first pulse that is not over. `ended`: the agent makes no more pulses.
   */
  z.object({
    ...answerTo,
    answer: z.literal('result'),
    result: pulseResult.extend({ lost: causes, traffic }).nullable(),
    next: count,
    ended: z.boolean()
  }),
  /** Answer to any order: the agent cannot or must not execute it. */
  z.object({ ...answerTo, answer: z.literal('refused'), reason }),
  /** Answer to `begin`, `abort`, `shrink`, `close`, `halt`, `stop` and `end`. */
  z.object({ ...answerTo, answer: z.literal('done') }),
  /** Answer to `connect`. */
  z.object({ ...answerTo, answer: z.literal('connected'), ...pulseResult.shape }),
  /** Answer to `lost`. */
  z.object({ ...answerTo, answer: z.literal('lost'), lost: causes }),
  /** Answer to `traffic`: with the latencies since the last such answer or the last `connected`. */
  z.object({ ...answerTo, answer: z.literal('traffic'), traffic, ...answers }),
  /** Answer to `record`: the header of the recording, whose time was `t` when the agent's clock read `at`. */
  z.object({ ...answerTo, answer: z.literal('recording'), header: z.unknown(), at: clock, t: ms }),
  /** Answer to `lines`. `ended`: the recording has ended, and no more lines follow. */
  z.object({
    ...answerTo,
    answer: z.literal('lines'),
    first: count,
    lines: z.array(z.unknown()).max(2000),
    ended: z.boolean()
  })
])

/** The answer of an agent to an order. */
export type Answer = z.infer<typeof answerSchema>

/** A message from an agent to its coordinator. */
export const agentMessageSchema = z.discriminatedUnion('tell', [
  answerSchema,
  /**
   * Answer to a heartbeat: when it came (`t1`), when this was sent (`t2`), and how the connections are. `alone`: the
   * agent goes on by itself, because it had heard nothing for too long.
   */
  z.object({
    ...toCoordinator,
    tell: z.literal('beat'),
    t0: clock,
    t1: clock,
    t2: clock,
    open: count,
    failed: count,
    alone: z.boolean().default(false)
  }),
  /** The agent leaves the swarm and closes all connections. */
  z.object({ ...toCoordinator, tell: z.literal('leaving'), reason })
])

/** A message from an agent to its coordinator. */
export type AgentMessage = z.infer<typeof agentMessageSchema>

/** Description of an agent on the bus. NATS's service protocol carries it as strings. */
export const offerSchema = z.object({
  id: token,
  /** Version of the protocol. */
  protocol: z
    .string()
    .regex(/^\d{1,9}$/)
    .transform(Number),
  name
})

/** Description of an agent on the bus. */
export type Offer = z.infer<typeof offerSchema>

/** A message is too large or not valid. */
export class MessageError extends LabError {
  override readonly name = 'MessageError'

  constructor(message: string) {
    super(message, 'ERR_EBB_MESSAGE')
  }
}

/** Returns a new id or secret of 128 random bits. */
export function newToken(): string {
  return randomBytes(16).toString('hex')
}

/**
 * Encodes a message.
 *
 * @throws {MessageError} if it is too large
 */
export function encode(message: unknown): Uint8Array {
  const bytes = Buffer.from(JSON.stringify(message))
  if (bytes.length > MAX_MESSAGE) {
    throw new MessageError(`a message of ${bytes.length} bytes is larger than the maximum of ${MAX_MESSAGE}`)
  }
  return bytes
}

/**
 * Decodes and validates a message.
 *
 * @throws {MessageError} if it is too large, not JSON, of another protocol version, or does not match `schema`
 */
export function decode<T>(schema: z.ZodType<T>, bytes: Uint8Array): T {
  if (bytes.length > MAX_MESSAGE) {
    throw new MessageError(`${bytes.length} bytes are more than the maximum of ${MAX_MESSAGE}`)
  }
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString())
  } catch {
    throw new MessageError('it is not JSON')
  }
  const version = (value as { v?: unknown } | null)?.v
  if (typeof version === 'number' && version !== PROTOCOL) throw new MessageError(otherVersion(version))
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new MessageError(`${issue?.path.join('.') || 'the message'}: ${issue?.message ?? 'not valid'}`)
}

/** Says that the other side uses another version of the protocol, and what to do. */
export function otherVersion(version: number): string {
  return `it speaks version ${version} of the protocol, and this is version ${PROTOCOL}: use the same ebb on both sides`
}
