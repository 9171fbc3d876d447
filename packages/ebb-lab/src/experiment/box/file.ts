/** The file that describes a box: YAML, of which JSON is a part. Read, checked, and spelled out server by server. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'
import { z } from 'zod'
import { planSchema } from '../../pulse/plan.js'
import type { PulseOptions } from '../../pulse/pulse.js'
import { randomFrom } from '../../pulse/random.js'
import { endOf, levelsOf, type Shape, STEP, timedPulses } from '../../pulse/shapes.js'
import { readTrace, TraceError } from '../../pulse/trace.js'
import { defined } from '../../units/defined.js'
import { reasonOf } from '../../units/errors.js'
import { integer } from '../../units/format.js'
import {
  parseCount,
  parseNumber,
  parsePositive,
  parsePositiveTime,
  parsePulses,
  parseShare,
  parseSize,
  parseTime,
  ValueError
} from '../../units/parse.js'
import { BENCH_PLAN } from '../experiment.js'

/** A box, spelled out. Times are ms, sizes bytes. */
export interface BoxPlan {
  name: string
  /** Servers rest for so long before the run begins. */
  rest: number
  /** How long a run is. */
  duration: number
  memory: number | null
  limit: number | null
  /** The same servers, each time in another way; one without a name where the file has no variants. */
  variants: Variant[]
}

export interface Variant {
  name: string
  servers: ServerPlan[]
}

export interface ServerPlan {
  name: string
  /** A program and its arguments; `{port}` is replaced. */
  command: readonly string[]
  cwd: string
  /** Null: a free one. */
  port: number | null
  env: Readonly<Record<string, string>>
  /** With `ebb/auto`. */
  governed: boolean
  /** A server that does not listen after this time is given up. */
  startWithin: number
  shape: Shape
  connect: Pick<PulseOptions, 'rate' | 'timeout' | 'close' | 'payload' | 'active' | 'expectEcho'>
  /** Where its plan stands: `box.yaml:12`. */
  where: string
}

/** What is wrong with a file: a line for each mistake, with its place. */
export class BoxFileError extends Error {
  override readonly name = 'BoxFileError'
  readonly code = 'ERR_BOX_INVALID'
}

/** Servers of a box, at most: each takes a process for itself and one for its clients. */
const MOST_SERVERS = 200
const MOST_TOLD = 8

/**
 * Reads a box's file. Paths in it are relative to the folder that it is in.
 *
 * @param duration in place of what the file says, ms
 * @throws BoxFileError: what is wrong, and in which line
 */
export function readBoxFile(file: string, duration?: number): BoxPlan {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new BoxFileError(`cannot read ${file}: ${reasonOf(error)}`)
  }
  return parseBoxFile(text, file, duration)
}

/** As {@link readBoxFile}, from its text. */
export function parseBoxFile(text: string, file: string, duration?: number): BoxPlan {
  const lines = new LineCounter()
  // `<<` is what people know from Docker's files.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true })
  const mistakes = new Mistakes(file, (where) => lines.linePos(offsetOf(document.contents, where)).line)
  for (const { code, message, pos } of document.errors) {
    mistakes.add(
      lines.linePos(pos[0]).line,
      code === 'MULTIPLE_DOCS' ? 'a box is one document: another begins here' : message
    )
  }
  mistakes.throwIfAny()
  if (document.contents === null) throw new BoxFileError(`${file} is empty: a box has servers`)
  let value: unknown
  try {
    value = document.toJS()
  } catch (error) {
    throw new BoxFileError(`${file}: ${(error as Error).message}`)
  }
  const parsed = fileSchema.safeParse(value)
  for (const { path: where, message } of parsed.error?.issues.flatMap(flattened) ?? []) mistakes.at(where, message)
  mistakes.throwIfAny()
  const box = parsed.data as BoxFile
  return spellOut(box, waysOf(box, document), file, mistakes, duration)
}

/** The variants in the order of the file: JavaScript puts keys that are numbers (`22: {}`, a version of Node) before all others. */
function waysOf({ variants }: BoxFile, document: Document): [name: string, way: Way][] | undefined {
  if (variants === undefined) return undefined
  const node = document.get('variants', true)
  const map: unknown = isAlias(node) ? node.resolve(document) : node
  const names = isMap(map) ? map.items.map(({ key }) => (isScalar(key) ? String(key.value) : '')) : []
  const placeOf = (name: string): number => {
    const place = names.indexOf(name)
    // One that a merge (`<<`) brought in.
    return place === -1 ? names.length : place
  }
  return Object.entries(variants).sort(([a], [b]) => placeOf(a) - placeOf(b))
}

type Where = readonly PropertyKey[]

/** Collects what is wrong, in the order of the lines. */
class Mistakes {
  readonly #file: string
  readonly #lineOf: (where: Where) => number
  readonly #found: { line: number; text: string }[] = []

  constructor(file: string, lineOf: (where: Where) => number) {
    this.#file = file
    this.#lineOf = lineOf
  }

  add(line: number, text: string): void {
    this.#found.push({ line, text })
  }

  at(where: Where, text: string): void {
    this.add(this.#lineOf(where), where.length === 0 ? text : `${nameOf(where)}: ${text}`)
  }

  /** `box.yaml:12` */
  place(where: Where): string {
    return `${this.#file}:${this.#lineOf(where)}`
  }

  throwIfAny(): void {
    if (this.#found.length === 0) return
    const found = this.#found.sort((a, b) => a.line - b.line).map(({ line, text }) => `${this.#file}:${line}: ${text}`)
    const more = found.length - MOST_TOLD
    throw new BoxFileError([...found.slice(0, MOST_TOLD), ...(more > 0 ? [`and ${more} more`] : [])].join('\n'))
  }
}

/** `servers[0].plan.big` */
function nameOf(where: Where): string {
  return where
    .map((key, i) => (typeof key === 'number' ? `[${key}]` : i === 0 ? String(key) : `.${String(key)}`))
    .join('')
}

/** Where in the text a value stands, or its key, or, where there is neither, what it would be in. */
function offsetOf(contents: Node | null, where: Where): number {
  let node: unknown = contents
  let offset = contents?.range?.[0] ?? 0
  for (const key of where) {
    // An alias has what it stands for.
    if (isAlias(node)) return offset
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(key))
      if (pair === undefined) return offset
      offset = (pair.key as Node).range?.[0] ?? offset
      node = pair.value
    } else if (isSeq(node)) {
      node = node.items[Number(key)]
      offset = (node as Node | undefined)?.range?.[0] ?? offset
    } else return offset
  }
  return offset
}

interface Issue {
  path: Where
  message: string
}

/** Unknown keys one by one, each at its own place. */
function flattened(issue: z.core.$ZodIssue): Issue[] {
  const { path: where, message } = issue
  if (issue.code !== 'unrecognized_keys') return [{ path: where, message }]
  return issue.keys.map((key) => ({ path: [...where, key], message }))
}

/** A map that has these keys and no others. */
function keys<T extends z.ZodRawShape>(what: string, shape: T) {
  return z.strictObject(shape, {
    error: ({ code, input }) => {
      if (code === 'unrecognized_keys') return `there is no such key: ${what} has ${Object.keys(shape).join(', ')}`
      return input === undefined ? 'it is missing' : `${what} has keys and values: ${Object.keys(shape).join(', ')}`
    }
  })
}

/** A value as a person writes it. */
function written<T>(parse: (text: string) => T) {
  const accepted = sentenceOf(parse)
  return z
    .union([z.string(), z.number()], { error: ({ input }) => (input === undefined ? 'it is missing' : accepted) })
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

function sentenceOf(parse: (text: string) => unknown): string {
  try {
    parse('')
  } catch (error) {
    return (error as Error).message
  }
  return 'it must be text or a number'
}

const { big, iterations, bigSeparation, small, smallSeparation, linger, pulses } = planSchema.shape
/** A timer of Node waits for 24.8 days at most, and 1 ms in place of longer. */
const atMostAWeek = linger.unwrap()
const time = written(parseTime).pipe(atMostAWeek)
const positiveTime = written(parsePositiveTime).pipe(atMostAWeek)
const count = written(parseCount)
const number = written(parseNumber)
const size = written(parseSize)
const text = (what: string) =>
  z.string({ error: ({ input }) => (input === undefined ? 'it is missing' : what) }).min(1, what)
const connections = count.pipe(big.unwrap())
const seed = count.pipe(z.number().max(2 ** 32 - 1, 'a seed is a whole number below 4,294,967,296'))

/** Of every shape. */
const timing = { offset: time.default(0), jitter: time.default(0), seed: seed.optional() }
const duration = positiveTime.default(Number.POSITIVE_INFINITY)

const SHAPES = {
  pulse: keys('a plan of pulses', {
    shape: z.literal('pulse').default('pulse'),
    ...timing,
    big: count.pipe(big.unwrap()).default(BENCH_PLAN.big),
    iterations: count.pipe(iterations.unwrap()).default(BENCH_PLAN.iterations),
    bigSeparation: time.pipe(bigSeparation.unwrap()).default(BENCH_PLAN.bigSeparation),
    small: count.pipe(small.unwrap()).default(BENCH_PLAN.small),
    smallSeparation: time.pipe(smallSeparation.unwrap()).default(BENCH_PLAN.smallSeparation),
    linger: time.pipe(linger.unwrap()).default(BENCH_PLAN.linger),
    // When they end is found pulse by pulse.
    pulses: written(parsePulses)
      .pipe(pulses.unwrap())
      .refine((n) => n <= 1_000_000 || n === Number.POSITIVE_INFINITY, 'it must be 1,000,000 at most, or forever')
      .default(BENCH_PLAN.pulses)
  }),
  steady: keys('a steady plan', { shape: z.literal('steady'), ...timing, connections, duration }),
  sawtooth: keys('a sawtooth', {
    shape: z.literal('sawtooth'),
    ...timing,
    low: connections.default(0),
    high: connections,
    // Loads change ten times a second at most.
    period: positiveTime.pipe(z.number().min(2 * STEP, `it must be ${2 * STEP}ms or more`)),
    duration
  }),
  poisson: keys('a poisson plan', {
    shape: z.literal('poisson'),
    ...timing,
    rate: number.pipe(z.number().max(100_000, 'it must be 100,000 a second at most')),
    hold: positiveTime,
    duration
  }),
  trace: keys('a plan by trace', {
    trace: text('it is the path of a CSV file'),
    ...timing,
    maxGap: positiveTime.optional(),
    speed: number.default(1),
    scale: number.default(1)
  })
} as const

type PlanKeys = { [K in keyof typeof SHAPES]: z.output<(typeof SHAPES)[K]> }[keyof typeof SHAPES]

/** Of the shape that it names, or of pulses. */
const plan = z.unknown().transform((value, context): PlanKeys => {
  const map = typeof value === 'object' && value !== null ? (value as { shape?: unknown; trace?: unknown }) : {}
  const kind = map.trace === undefined ? (map.shape ?? 'pulse') : 'trace'
  if (typeof kind !== 'string' || !Object.hasOwn(SHAPES, kind) || map.shape === 'trace') {
    const message = `a shape is pulse, steady, sawtooth or poisson; a trace is given as trace: file.csv`
    context.addIssue({ code: 'custom', path: ['shape'], message })
    return z.NEVER
  }
  const parsed = SHAPES[kind as keyof typeof SHAPES].safeParse(value)
  if (parsed.success) return parsed.data
  for (const { path: where, message } of parsed.error.issues.flatMap(flattened)) {
    context.addIssue({ code: 'custom', path: [...where], message })
  }
  return z.NEVER
})

const COMMAND = 'a command is a line for the shell, or a list of a program and its arguments'
const command = z.union([text(COMMAND), z.array(z.string(), { error: COMMAND }).min(1, COMMAND)], {
  error: ({ input }) => (input === undefined ? 'it is missing' : COMMAND)
})
const ENVIRONMENT = 'an environment has names and values: NODE_ENV: production'
const env = z.record(
  z.string().regex(/^[^=\0]+$/, 'a name has no ='),
  z.union([z.string(), z.number(), z.boolean()], { error: ENVIRONMENT }).transform(String),
  { error: ENVIRONMENT }
)
const flag = z.boolean({ error: 'it is true or false' })

/** What a variant may have in place of what its servers have. */
const way = { command: command.optional(), env: env.optional(), governed: flag.optional() }

const server = keys('a server', {
  name: text('it is a name').optional(),
  ...way,
  cwd: text('it is a folder').default('.'),
  port: count.pipe(z.number().min(1, 'a port is from 1 to 65535').max(65_535, 'a port is from 1 to 65535')).optional(),
  count: written(parsePositive)
    .pipe(z.number().max(MOST_SERVERS, `it must be ${MOST_SERVERS} at most`))
    .default(1),
  stagger: time.default(0),
  startWithin: positiveTime.default(30_000),
  plan: plan.default(() => SHAPES.pulse.parse({})),
  connect: keys('connect', {
    rate: number.optional(),
    timeout: positiveTime.optional(),
    close: z.enum(['fin', 'rst'], { error: 'it is fin or rst' }).optional(),
    payload: text('it is text').optional(),
    active: written(parseShare).optional(),
    expectEcho: flag.optional()
  }).default({})
})

const fileSchema = keys('a box', {
  name: text('it is a name').optional(),
  rest: time.default(1500),
  duration: positiveTime.optional(),
  seed: seed.default(1),
  memory: size.optional(),
  limit: size.optional(),
  // A variant that changes nothing may be left empty.
  variants: z
    .record(
      z.string().min(1, 'a variant has a name'),
      z.preprocess((value) => value ?? {}, keys('a variant', way)),
      {
        error: 'variants have names: plain: {}, governed: { governed: true }'
      }
    )
    .optional(),
  servers: z
    .array(server, {
      error: ({ input }) => (input === undefined ? 'it is missing: a box has servers' : 'it is a list of servers')
    })
    .min(1, 'a box has servers')
})

type BoxFile = z.output<typeof fileSchema>

function spellOut(
  box: BoxFile,
  variantsOf: [name: string, way: Way][] | undefined,
  file: string,
  mistakes: Mistakes,
  given: number | undefined
): BoxPlan {
  const name = box.name ?? path.basename(file).replace(/\.(ya?ml|json)$/i, '')
  const shapes = box.servers.map((server, index) => shapesOf(box, server, index, file, mistakes))
  const ways = variantsOf ?? [[name, {}]]
  const variants = ways.map(([variant, way]) => ({
    name: variant,
    servers: box.servers.flatMap((server, index) =>
      serversOf(server, index, way, shapes[index] ?? [], file, mistakes, variant)
    )
  }))
  if (ways.length === 0) mistakes.at(['variants'], 'there is none: leave the key out, or name one')
  checkServers(box.servers, mistakes)
  mistakes.throwIfAny()
  const all = shapes.flat()
  const duration = given ?? box.duration ?? lengthOf(all)
  if (duration === null) {
    mistakes.at([], 'no plan ends by itself: say how long a run is (duration: 2m)')
    mistakes.throwIfAny()
  }
  if (!atMostAWeek.safeParse(duration).success) {
    const days = integer(Math.ceil((duration as number) / 86_400_000))
    mistakes.at(box.duration === undefined ? [] : ['duration'], `a run would take ${days} days: a week at most`)
    mistakes.throwIfAny()
  }
  box.servers.forEach((server, index) => {
    for (const shape of shapes[index] ?? []) {
      if (isIdle(shape, duration as number)) {
        const within =
          given === undefined && box.duration === undefined
            ? ''
            : ` within the ${(duration as number) / 1000} s of a run`
        mistakes.at(['servers', index, 'plan'], `${nameFor(server, index, 0)} gets no connection${within}`)
        break
      }
    }
  })
  mistakes.throwIfAny()
  const { rest, memory = null, limit = null } = box
  return { name, rest, duration: duration as number, memory, limit, variants }
}

type ServerKeys = BoxFile['servers'][number]
type Way = Pick<ServerKeys, 'command' | 'env' | 'governed'>

/** The shape of each server of an entry: the same in every variant. */
function shapesOf(box: BoxFile, server: ServerKeys, index: number, file: string, mistakes: Mistakes): Shape[] {
  const { plan, count, stagger } = server
  let levels: ReturnType<typeof readTrace> = []
  if ('trace' in plan) {
    const { speed, scale, maxGap } = plan
    try {
      const options = { speed, scale, ...(maxGap !== undefined && { maxGap }) }
      levels = readTrace(path.resolve(path.dirname(file), plan.trace), options)
    } catch (error) {
      const why = error instanceof TraceError ? error.message : `cannot read ${plan.trace}: ${reasonOf(error)}`
      mistakes.at(['servers', index, 'plan', 'trace'], why)
    }
  }
  return Array.from({ length: count }, (_, instance): Shape => {
    const { jitter, offset } = plan
    const timing = {
      jitter,
      offset: offset + instance * stagger,
      // Servers that have no seed of their own do not spike by the same dice.
      seed: (plan.seed ?? Math.floor(randomFrom(box.seed + index * 7919)() * 2 ** 32)) + instance
    }
    return 'trace' in plan ? { shape: 'trace', file: plan.trace, levels, ...timing } : { ...plan, ...timing }
  })
}

function serversOf(
  server: ServerKeys,
  index: number,
  way: Way,
  shapes: readonly Shape[],
  file: string,
  mistakes: Mistakes,
  variant: string
): ServerPlan[] {
  const command = way.command ?? server.command
  if (command === undefined) {
    mistakes.at(
      ['servers', index],
      `${nameFor(server, index, 0)} has no command, and neither has the variant ${variant}`
    )
    return []
  }
  const { payload, active, expectEcho } = server.connect
  if (payload === undefined && (active !== undefined || expectEcho === true)) {
    mistakes.at(['servers', index, 'connect'], 'active and expectEcho need something to send: add payload: TEXT')
  }
  return shapes.map((shape, instance) => ({
    name: nameFor(server, index, instance),
    command: typeof command === 'string' ? ['/bin/sh', '-c', command] : command,
    cwd: path.resolve(path.dirname(file), server.cwd),
    port: server.port === undefined ? null : server.port + instance,
    env: { ...server.env, ...way.env },
    governed: way.governed ?? server.governed ?? false,
    startWithin: server.startWithin,
    shape,
    connect: defined(server.connect),
    where: mistakes.place(['servers', index, 'plan'])
  }))
}

function nameFor({ name, count }: ServerKeys, index: number, instance: number): string {
  const own = name ?? `server ${index + 1}`
  return count === 1 ? own : `${own} ${instance + 1}`
}

/** Each has a name and a port of its own. */
function checkServers(servers: readonly ServerKeys[], mistakes: Mistakes): void {
  const all = servers.reduce((sum, { count }) => sum + count, 0)
  if (all > MOST_SERVERS) mistakes.at(['servers'], `${all} servers are too many: ${MOST_SERVERS} at most`)
  const names = new Set<string>()
  const ports = new Set<number>()
  for (const [index, server] of servers.entries()) {
    for (let instance = 0; instance < server.count; instance++) {
      const name = nameFor(server, index, instance)
      if (names.has(name))
        mistakes.at(
          ['servers', index, 'name'],
          `two servers are called ${JSON.stringify(name)}: give each a name of its own`
        )
      names.add(name)
      if (server.port === undefined) continue
      const port = server.port + instance
      const where = ['servers', index, 'port']
      if (ports.has(port)) mistakes.at(where, `two servers have the port ${port}`)
      if (port > 65_535) mistakes.at(where, `${name} would have the port ${port}: ports end at 65535`)
      ports.add(port)
    }
  }
}

/** When the last of those ends that end; null: none does. */
function lengthOf(shapes: readonly Shape[]): number | null {
  const ends = shapes.map(endOf).filter(Number.isFinite)
  return ends.length === 0 ? null : Math.max(...ends, 1)
}

function isIdle(shape: Shape, duration: number): boolean {
  if (shape.shape === 'pulse') return timedPulses(shape, duration).next().done === true
  for (const { connections } of levelsOf(shape, duration)) {
    if (connections > 0) return false
  }
  return true
}
