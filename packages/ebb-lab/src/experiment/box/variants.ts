/** Chooses the variants of a box, and the servers of a control run and of a main run. */
import type { Shape } from '../../pulse/shapes.js'
import { RecordError } from '../../units/errors.js'
import { checkClients, checkFolders, checkInheritedLimit } from './capacity.js'
import type { BoxPlan, ServerPlan, Variant } from './plan.js'

/** A server of a run. */
export interface Planned {
  server: ServerPlan
  /** Name of the server in the control run whose memory is this server's need; null: there is none. */
  control: string | null
  /** In a control run: the server of the main run that this one stands for. */
  original?: ServerPlan
}

/** Small pulses of a control run. */
const CONTROL_PULSES = 2
/** Longest pause between the pulses of a control run, ms. */
const CONTROL_SEPARATION = 1000

/**
 * Returns the variants with the given names, or all. Checks first that this machine can hold the clients and
 * the servers of all variants.
 *
 * @throws RecordError (`ERR_INVALID_ARG_VALUE`) if the file has no variant with a name; BoxFileError if this machine
 *   cannot hold the clients or the servers, or a working directory does not exist
 */
export function variantsFor({ variants }: BoxPlan, names?: readonly string[]): Variant[] {
  for (const { servers } of variants) {
    checkClients(servers)
    checkFolders(servers)
    checkInheritedLimit(servers)
  }
  if (names === undefined || names.length === 0) return variants
  const unknown = names.find((name) => !variants.some((variant) => variant.name === name))
  if (unknown !== undefined) {
    const known = variants.map(({ name }) => name).join(', ')
    const text = `there is no variant ${JSON.stringify(unknown)}: the file has ${known}`
    throw new RecordError(text, 'ERR_INVALID_ARG_VALUE')
  }
  return variants.filter(({ name }) => names.includes(name))
}

/** Returns the servers of the control run: one for each kind of server with pulses. */
export function controlServers({ servers }: Variant): Planned[] {
  const kinds = new Map<string, Planned>()
  for (const server of servers) {
    const { shape } = server
    const kind = kindOf(server)
    if (kind === null || kinds.has(kind) || shape.shape !== 'pulse') continue
    const { small, linger, seed, smallSeparation, bigSeparation } = shape
    const smallPulses: Shape = {
      shape: 'pulse',
      offset: 0,
      jitter: 0,
      seed,
      big: 0,
      iterations: 0,
      bigSeparation,
      small,
      linger,
      pulses: CONTROL_PULSES,
      smallSeparation: Math.min(smallSeparation, CONTROL_SEPARATION)
    }
    kinds.set(kind, { server: { ...server, shape: smallPulses }, control: null, original: server })
  }
  return [...kinds.values()]
}

/** Returns the servers of the main run, with the names of their controls. */
export function mainServers({ servers }: Variant, controls: readonly Planned[]): Planned[] {
  const kinds = new Map(controls.map(({ server }) => [kindOf(server), server.name]))
  return servers.map((server) => ({ server, control: kinds.get(kindOf(server)) ?? null }))
}

/**
 * Identifies servers that have the same need. Null if the server has no small pulses, so that its need is not defined.
 */
function kindOf({ command, cwd, env, governed, connect, shape }: ServerPlan): string | null {
  if (shape.shape !== 'pulse' || shape.small === 0 || shape.pulses === 0) return null
  return JSON.stringify([command, cwd, env, governed, connect, shape.small, shape.linger])
}
