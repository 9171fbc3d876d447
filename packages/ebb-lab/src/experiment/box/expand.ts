/** Expands the contents of a box's file into a plan: every server of every variant, checked against each other. */
import { basename, dirname, resolve } from 'node:path'
import { clientOptions } from '../../pulse/pulse.js'
import { randomFrom } from '../../pulse/random.js'
import { endOf, type Level, levelsOf, type Shape, type Timing, timedPulses } from '../../pulse/shapes.js'
import { portOfUrl, protocolOfUrl, targetAt } from '../../pulse/target.js'
import { readTrace, TraceError } from '../../pulse/trace.js'
import { defined } from '../../units/defined.js'
import { messageOf, reasonOf } from '../../units/errors.js'
import { integer } from '../../units/format.js'
import type { Mistakes } from './mistakes.js'
import type { BoxPlan, ServerPlan, Variant } from './plan.js'
import { atMostAWeek, type BoxFile, MOST_SERVERS, type PlanKeys, type ServerKeys, type VariantKeys } from './schema.js'

/** What a box is expanded with. */
interface Context {
  /** Path of the file. */
  file: string
  mistakes: Mistakes
  /** Length of a run in ms. It takes precedence over the length in the file. */
  duration: number | undefined
}

const DAY = 86_400_000

/**
 * Returns the plan of a box.
 *
 * @param variants the variants of the file in their order; undefined if the file has no key `variants`
 * @throws BoxFileError if the servers do not fit together, or a run would have no end
 */
export function expand(
  box: BoxFile,
  variants: [name: string, keys: VariantKeys][] | undefined,
  context: Context
): BoxPlan {
  const { file, mistakes } = context
  const name = box.name ?? basename(file).replace(/\.(ya?ml|json)$/i, '')
  const shapes = box.servers.map((server, index) => shapesOf(box, server, index, context))
  const expanded = (variants ?? [[name, {}]]).map(
    ([variant, keys]): Variant => ({
      name: variant,
      servers: box.servers.flatMap((server, index) =>
        serversOf(server, index, { name: variant, keys }, shapes[index] ?? [], context)
      )
    })
  )
  if (expanded.length === 0) mistakes.addAt(['variants'], 'it is empty: leave the key out, or add a variant')
  checkServers(box.servers, mistakes)
  mistakes.throwIfAny()
  const duration = durationOf(box, shapes.flat(), context)
  checkLoads(box, shapes, duration, context)
  const { rest, memory = null, limit = null } = box
  return { name, rest, duration, memory, limit, variants: expanded }
}

/** Returns the length of a run, ms: the given length, else the latest end of all plans that end. */
function durationOf(box: BoxFile, shapes: readonly Shape[], { mistakes, duration: given }: Context): number {
  const duration = given ?? box.duration ?? lastEndOf(shapes)
  if (duration === null) {
    mistakes.addAt([], 'no plan ends by itself: set the length of a run (duration: 2m)')
  } else if (!atMostAWeek.safeParse(duration).success) {
    const days = integer(Math.ceil(duration / DAY))
    mistakes.addAt(
      box.duration === undefined ? [] : ['duration'],
      `a run would take ${days} days: it must be at most a week`
    )
  }
  mistakes.throwIfAny()
  return duration as number
}

/** Returns the latest end of all plans that end, ms; null if no plan ends. */
function lastEndOf(shapes: readonly Shape[]): number | null {
  const ends = shapes.map(endOf).filter(Number.isFinite)
  return ends.length === 0 ? null : Math.max(...ends, 1)
}

/** Refuses servers that get no connection within a run. */
function checkLoads(box: BoxFile, shapes: readonly Shape[][], duration: number, context: Context): void {
  const { mistakes, duration: given } = context
  const isGiven = given !== undefined || box.duration !== undefined
  const within = isGiven ? ` within the ${duration / 1000} s of a run` : ''
  for (const [index, server] of box.servers.entries()) {
    if (!(shapes[index] ?? []).some((shape) => isIdle(shape, duration))) continue
    mistakes.addAt(['servers', index, 'plan'], `${nameOf(server, index, 0)} gets no connection${within}`)
  }
  mistakes.throwIfAny()
}

/** Returns whether a shape has no connection within a run. */
function isIdle(shape: Shape, duration: number): boolean {
  if (shape.shape === 'pulse') return timedPulses(shape, duration).next().done === true
  for (const { connections } of levelsOf(shape, duration)) {
    if (connections > 0) return false
  }
  return true
}

/** Returns the shape of each server of an entry. It is the same in every variant, so that variants can be compared. */
function shapesOf(box: BoxFile, { plan, count, stagger }: ServerKeys, index: number, context: Context): Shape[] {
  const levels = 'trace' in plan ? levelsOfTrace(plan, index, context) : []
  return Array.from({ length: count }, (_, instance): Shape => {
    const { jitter, offset } = plan
    const timing = {
      jitter,
      offset: offset + instance * stagger,
      // Servers without a seed of their own get different ones, so that their jitter differs.
      seed: (plan.seed ?? Math.floor(randomFrom(box.seed + index * 7919)() * 2 ** 32)) + instance
    }
    return shapeOf(plan, levels, timing)
  })
}

type TraceKeys = Extract<PlanKeys, { trace: string }>

/** Returns the shape that the keys of a plan describe. */
function shapeOf(plan: PlanKeys, levels: readonly Level[], timing: Timing): Shape {
  return 'trace' in plan ? { shape: 'trace', file: plan.trace, levels, ...timing } : { ...plan, ...timing }
}

/**
 * Returns the shape that the keys of a plan describe, outside of a box.
 *
 * @param folder folder of relative paths
 * @throws TraceError for a trace that is not valid; Error of the system if it cannot be read
 */
export function readShape(plan: PlanKeys, folder: string): Shape {
  const { offset, jitter, seed = 1 } = plan
  return shapeOf(plan, 'trace' in plan ? readTraceOf(plan, folder) : [], { offset, jitter, seed })
}

function readTraceOf({ trace, speed, scale, maxGap }: TraceKeys, folder: string): Level[] {
  return readTrace(resolve(folder, trace), { speed, scale, ...(maxGap !== undefined && { maxGap }) })
}

/** Reads the trace of a plan. A trace that cannot be read is a mistake, and has no levels. */
function levelsOfTrace(plan: TraceKeys, index: number, { file, mistakes }: Context): ReturnType<typeof readTrace> {
  try {
    return readTraceOf(plan, dirname(file))
  } catch (error) {
    const why = error instanceof TraceError ? error.message : `cannot read ${plan.trace}: ${reasonOf(error)}`
    mistakes.addAt(['servers', index, 'plan', 'trace'], why)
    return []
  }
}

/** Returns the servers of an entry in a variant. */
function serversOf(
  server: ServerKeys,
  index: number,
  variant: { name: string; keys: VariantKeys },
  shapes: readonly Shape[],
  { file, mistakes }: Context
): ServerPlan[] {
  const { keys } = variant
  const command = keys.command ?? server.command
  if (command === undefined) {
    const name = nameOf(server, index, 0)
    mistakes.addAt(['servers', index], `neither ${name} nor the variant ${variant.name} has a command`)
    return []
  }
  checkConnect(server, index, mistakes)
  return shapes.map((shape, instance) => ({
    name: nameOf(server, index, instance),
    command: typeof command === 'string' ? ['/bin/sh', '-c', command] : command,
    cwd: resolve(dirname(file), server.cwd),
    port: server.port === undefined ? null : server.port + instance,
    env: { ...server.env, ...keys.env },
    governed: keys.governed ?? server.governed ?? false,
    startWithin: server.startWithin,
    shape,
    connect: connectOf(server),
    where: mistakes.whereIs(['servers', index, 'plan'])
  }))
}

/** Returns how the clients of a server connect. */
function connectOf({ connect }: ServerKeys): ServerPlan['connect'] {
  return defined(connect)
}

/** Refuses options of the clients that do not fit together. */
function checkConnect(server: ServerKeys, index: number, mistakes: Mistakes): void {
  const connect = connectOf(server)
  const { url, payload, active, expectEcho } = connect
  const where = ['servers', index, 'connect']
  const speaks = payload !== undefined || (url !== undefined && protocolOfUrl(url) === 'http')
  if (!speaks && (active !== undefined || expectEcho === true)) {
    mistakes.addAt(where, 'active and expectEcho need data to send: add payload: TEXT')
  }
  const port = server.port ?? (url === undefined ? undefined : portOfUrl(url)) ?? 1
  try {
    clientOptions(targetAt(url, { host: '127.0.0.1', port }), connect)
  } catch (error) {
    mistakes.addAt(where, messageOf(error))
  }
  if (url !== undefined && portOfUrl(url) !== undefined && (server.port === undefined || server.count > 1)) {
    mistakes.addAt([...where, 'url'], 'the server gets another port: write {port} in the URL')
  }
}

/** Returns the name of a server; servers of one entry are numbered from 1 on. */
function nameOf({ name, count }: ServerKeys, index: number, instance: number): string {
  const own = name ?? `server ${index + 1}`
  return count === 1 ? own : `${own} ${instance + 1}`
}

/** Refuses too many servers, and servers with equal names or ports. */
function checkServers(servers: readonly ServerKeys[], mistakes: Mistakes): void {
  const all = servers.reduce((sum, { count }) => sum + count, 0)
  if (all > MOST_SERVERS) mistakes.addAt(['servers'], `${all} servers are too many: ${MOST_SERVERS} at most`)
  const names = new Set<string>()
  const ports = new Set<number>()
  for (const [index, server] of servers.entries()) {
    for (let instance = 0; instance < server.count; instance++) {
      const name = nameOf(server, index, instance)
      if (names.has(name)) {
        const text = `two servers are called ${JSON.stringify(name)}: give each a name of its own`
        mistakes.addAt(['servers', index, 'name'], text)
      }
      names.add(name)
      if (server.port === undefined) continue
      const port = server.port + instance
      const path = ['servers', index, 'port']
      if (ports.has(port)) mistakes.addAt(path, `two servers have the port ${port}`)
      if (port > 65_535) mistakes.addAt(path, `${name} would have the port ${port}: ports end at 65535`)
      ports.add(port)
    }
  }
}
