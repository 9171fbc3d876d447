/** The schema of a box's file, with a message for every mistake. */
import { z } from 'zod'
import { planSchema } from '../../pulse/plan.js'
import { rampLinger, STEP } from '../../pulse/shapes.js'
import { protocolOfUrl } from '../../pulse/target.js'
import { defined } from '../../units/defined.js'
import { messageOf } from '../../units/errors.js'
import {
  parseCount,
  parseNumber,
  parsePerSecond,
  parsePositive,
  parsePositiveTime,
  parsePulses,
  parseShare,
  parseSize,
  parseStages,
  parseTime,
  ValueError
} from '../../units/parse.js'
import { BENCH_PLAN } from '../experiment.js'
import type { ValuePath } from './mistakes.js'

/** Most servers of a box: each takes a process for itself and at least one for its clients. */
export const MOST_SERVERS = 200

/** A mistake in a value. */
interface Issue {
  path: ValuePath
  message: string
}

/** Returns the mistakes that zod found. Each unknown key is a mistake of its own. */
export function issuesOf(error: z.core.$ZodError): Issue[] {
  return error.issues.flatMap((issue): Issue[] => {
    const { path, message } = issue
    if (issue.code !== 'unrecognized_keys') return [{ path, message }]
    return issue.keys.map((key) => ({ path: [...path, key], message }))
  })
}

/** Returns the schema of a map with these keys and no others. `what` names the map in messages. */
function mapOf<T extends z.ZodRawShape>(what: string, shape: T) {
  return z.strictObject(shape, {
    error: ({ code, input }) => {
      if (code === 'unrecognized_keys') return `unknown key: ${what} has ${Object.keys(shape).join(', ')}`
      return input === undefined ? 'it is missing' : `${what} has keys and values: ${Object.keys(shape).join(', ')}`
    }
  })
}

/** Returns the schema of text or a number that `parse` accepts. The output is what `parse` returns. */
function parsedBy<T>(parse: (text: string) => T) {
  const expected = refusalOf(parse)
  return z
    .union([z.string(), z.number()], { error: ({ input }) => (input === undefined ? 'it is missing' : expected) })
    .transform((value, context): T => {
      try {
        return parse(String(value))
      } catch (error) {
        if (!(error instanceof ValueError)) throw error
        context.addIssue({ code: 'custom', message: error.message })
        return z.NEVER
      }
    })
}

/** Returns the message of the error with which a parser refuses an empty text: it says what the parser accepts. */
function refusalOf(parse: (text: string) => unknown): string {
  try {
    parse('')
  } catch (error) {
    return messageOf(error)
  }
  return 'it must be text or a number'
}

const { big, iterations, bigSeparation, small, smallSeparation, linger, pulses } = planSchema.shape
/** A timer of Node waits at most 24.8 days, and 1 ms if it is set to more. */
export const atMostAWeek = linger.unwrap()
const time = parsedBy(parseTime).pipe(atMostAWeek)
const positiveTime = parsedBy(parsePositiveTime).pipe(atMostAWeek)
const count = parsedBy(parseCount)
const number = parsedBy(parseNumber)
const perSecond = parsedBy(parsePerSecond)
const size = parsedBy(parseSize)
/** Returns the schema of text that is not empty. `what` is the message for any other value. */
const nonEmpty = (what: string) =>
  z.string({ error: ({ input }) => (input === undefined ? 'it is missing' : what) }).min(1, what)
const connections = count.pipe(big.unwrap())
const seed = count.pipe(z.number().max(2 ** 32 - 1, 'a seed must be below 4,294,967,296'))

/** Keys of every plan. */
const timing = { offset: time.default(0), jitter: time.default(0), seed: seed.optional() }
const duration = positiveTime.default(Number.POSITIVE_INFINITY)

/** The plans by their shape. */
const SHAPES = {
  pulse: mapOf('a plan of pulses', {
    shape: z.literal('pulse').default('pulse'),
    ...timing,
    big: count.pipe(big.unwrap()).default(BENCH_PLAN.big),
    iterations: count.pipe(iterations.unwrap()).default(BENCH_PLAN.iterations),
    bigSeparation: time.pipe(bigSeparation.unwrap()).default(BENCH_PLAN.bigSeparation),
    small: count.pipe(small.unwrap()).default(BENCH_PLAN.small),
    smallSeparation: time.pipe(smallSeparation.unwrap()).default(BENCH_PLAN.smallSeparation),
    linger: time.pipe(linger.unwrap()).default(BENCH_PLAN.linger),
    // The end of the plan is computed by going through its pulses, so their number is limited.
    pulses: parsedBy(parsePulses)
      .pipe(pulses.unwrap())
      .refine((n) => n <= 1_000_000 || n === Number.POSITIVE_INFINITY, 'it must be at most 1,000,000, or forever')
      .default(BENCH_PLAN.pulses)
  }),
  steady: mapOf('a steady plan', { shape: z.literal('steady'), ...timing, connections, duration }),
  sawtooth: mapOf('a sawtooth', {
    shape: z.literal('sawtooth'),
    ...timing,
    low: connections.default(0),
    high: connections,
    // A load changes at most ten times a second.
    period: positiveTime.pipe(z.number().min(2 * STEP, `it must be ${2 * STEP}ms or more`)),
    duration
  }),
  ramp: mapOf('a ramp', {
    shape: z.literal('ramp'),
    ...timing,
    stages: parsedBy(parseStages),
    linger: time.optional()
  }).transform(({ linger, ...ramp }) => ({
    ...ramp,
    linger: linger ?? rampLinger(ramp.stages, BENCH_PLAN.linger)
  })),
  poisson: mapOf('a poisson plan', {
    shape: z.literal('poisson'),
    ...timing,
    rate: perSecond.pipe(z.number().max(100_000, 'it must be at most 100,000 per second')),
    hold: positiveTime,
    duration
  }),
  trace: mapOf('a plan by trace', {
    trace: nonEmpty('it must be the path of a CSV file'),
    ...timing,
    maxGap: positiveTime.optional(),
    speed: number.default(1),
    scale: number.default(1)
  })
} as const

/** A plan, with all defaults filled in. */
export type PlanKeys = { [K in keyof typeof SHAPES]: z.output<(typeof SHAPES)[K]> }[keyof typeof SHAPES]

/** Schema of a plan. Its key `shape` selects the schema; a plan without a shape is a plan of pulses. */
export const planKeys = z.unknown().transform((value, context): PlanKeys => {
  const map = typeof value === 'object' && value !== null ? (value as { shape?: unknown; trace?: unknown }) : {}
  const kind = map.trace === undefined ? (map.shape ?? 'pulse') : 'trace'
  if (typeof kind !== 'string' || !Object.hasOwn(SHAPES, kind) || map.shape === 'trace') {
    const message = 'a shape is pulse, steady, sawtooth, ramp or poisson; for a trace, write trace: file.csv'
    context.addIssue({ code: 'custom', path: ['shape'], message })
    return z.NEVER
  }
  const parsed = SHAPES[kind as keyof typeof SHAPES].safeParse(value)
  if (parsed.success) return parsed.data
  for (const { path, message } of issuesOf(parsed.error)) {
    context.addIssue({ code: 'custom', path: [...path], message })
  }
  return z.NEVER
})

function isUrl(text: string): boolean {
  try {
    protocolOfUrl(text)
    return true
  } catch {
    return false
  }
}

const COMMAND = 'a command is a line for the shell, or a list of a program and its arguments'
const command = z.union([nonEmpty(COMMAND), z.array(z.string(), { error: COMMAND }).min(1, COMMAND)], {
  error: ({ input }) => (input === undefined ? 'it is missing' : COMMAND)
})
const ENVIRONMENT = 'an environment has names and values: NODE_ENV: production'
const env = z.record(
  z.string().regex(/^[^=\0]+$/, 'the name of a variable cannot contain ='),
  z.union([z.string(), z.number(), z.boolean()], { error: ENVIRONMENT }).transform(String),
  { error: ENVIRONMENT }
)
const flag = z.boolean({ error: 'it must be true or false' })

/** Keys that a variant may have, which replace those of its servers. */
const variantKeys = { command: command.optional(), env: env.optional(), governed: flag.optional() }

const server = mapOf('a server', {
  name: nonEmpty('it must be a name').optional(),
  ...variantKeys,
  cwd: nonEmpty('it must be the path of a folder').default('.'),
  port: count.pipe(z.number().min(1, 'a port is from 1 to 65535').max(65_535, 'a port is from 1 to 65535')).optional(),
  count: parsedBy(parsePositive)
    .pipe(z.number().max(MOST_SERVERS, `it must be at most ${MOST_SERVERS}`))
    .default(1),
  stagger: time.default(0),
  startWithin: positiveTime.default(30_000),
  plan: planKeys.default(() => SHAPES.pulse.parse({})),
  connect: mapOf('connect', {
    rate: perSecond.optional(),
    churn: perSecond.optional(),
    timeout: positiveTime.optional(),
    close: z.enum(['fin', 'rst'], { error: 'it must be fin or rst' }).optional(),
    payload: nonEmpty('it must be text').optional(),
    active: parsedBy(parseShare).optional(),
    expectEcho: flag.optional(),
    url: nonEmpty('it must be a URL: ws://127.0.0.1:{port}/chat').refine(isUrl, 'it is no URL of a server').optional(),
    every: time.optional(),
    ping: positiveTime.optional(),
    method: nonEmpty('it must be an HTTP method').optional(),
    headers: z
      .record(z.string(), z.string(), { error: 'headers have names and values: Accept: text/html' })
      .transform((map) => Object.entries(map))
      .optional(),
    body: z.string({ error: 'it must be text' }).optional(),
    subprotocols: z.array(z.string(), { error: 'it must be a list of names' }).optional(),
    clientId: nonEmpty('it must be text').optional(),
    subscribe: z.array(z.string(), { error: 'it must be a list of topic filters' }).optional(),
    topic: nonEmpty('it must be text').optional(),
    qos: z.union([z.literal(0), z.literal(1)], { error: 'it must be 0 or 1' }).optional(),
    keepAlive: time.optional(),
    tls: mapOf('tls', { insecure: flag.optional(), resume: flag.optional(), servername: z.string().optional() })
      .transform((keys) => defined(keys))
      .optional()
  }).default({})
})

/** The schema of a box's file. */
export const fileSchema = mapOf('a box', {
  name: nonEmpty('it must be a name').optional(),
  rest: time.default(1500),
  duration: positiveTime.optional(),
  seed: seed.default(1),
  memory: size.optional(),
  limit: size.optional(),
  // A variant that changes nothing may be empty.
  variants: z
    .record(
      z.string().min(1, 'a variant must have a name'),
      z.preprocess((value) => value ?? {}, mapOf('a variant', variantKeys)),
      {
        error: 'variants have names: plain: {}, governed: { governed: true }'
      }
    )
    .optional(),
  servers: z
    .array(server, {
      error: ({ input }) =>
        input === undefined ? 'it is missing: a box needs servers' : 'it must be a list of servers'
    })
    .min(1, 'a box needs at least one server')
})

/** The contents of a box's file, with all defaults filled in. Times are milliseconds, sizes are bytes. */
export type BoxFile = z.output<typeof fileSchema>

/** An entry of `servers`. */
export type ServerKeys = BoxFile['servers'][number]

/** The keys of a variant. */
export type VariantKeys = Pick<ServerKeys, 'command' | 'env' | 'governed'>
