/** The state of a resumable run: what a coordinator needs to collect the rest of its results. */
import { z } from 'zod'
import { SwarmError } from './errors.js'
import {
  causesSchema,
  countSchema,
  latenciesSchema,
  nameSchema,
  planJsonSchema,
  targetResultSchema,
  tokenSchema,
  trafficSchema
} from './messages.js'
import { keyOf } from './run-id.js'
import type { RunStore } from './run-store.js'

/** Version of the state. */
export const STATE_VERSION = 2

const stateSchema = z.object({
  v: z.literal(STATE_VERSION),
  /** Name of the swarm. */
  swarm: z.string(),
  /** Name of the coordinator that began the run. */
  who: nameSchema,
  /** Time at which the run began, ms since 1970. */
  began: countSchema,
  plan: planJsonSchema,
  /** Milliseconds for which agents go on without a coordinator. */
  grace: z.number().nonnegative(),
  /** Results of all pulses that are over. */
  report: z.object({
    pulses: countSchema,
    connected: countSchema,
    failed: causesSchema,
    lost: causesSchema,
    abandoned: countSchema,
    echoed: countSchema,
    unanswered: causesSchema,
    late: countSchema,
    traffic: trafficSchema,
    targets: z.array(targetResultSchema).optional()
  }),
  latencies: latenciesSchema,
  /** Milliseconds spent connecting. */
  connectMs: z.number().nonnegative(),
  /** As in `SwarmReport`. */
  spread: z.number().nonnegative().nullable(),
  error: z.number().nonnegative().nullable(),
  agents: z.array(
    z.object({
      id: tokenSchema,
      name: nameSchema,
      /** Why the agent was lost, or null. */
      why: z.string().max(5000).nullable(),
      part: z.object({ big: countSchema, small: countSchema }),
      total: z.object({ connected: countSchema, failed: causesSchema, lost: causesSchema, unanswered: causesSchema })
    })
  )
})

/** The state of a resumable run. */
export type RunState = z.infer<typeof stateSchema>

/** The stored state of one run. */
export class StoredRun {
  /** Id of the run. */
  readonly id: string
  readonly #store: RunStore
  #revision: number

  private constructor(id: string, store: RunStore, revision: number) {
    this.id = id
    this.#store = store
    this.#revision = revision
  }

  /**
   * Stores the state of a new run.
   *
   * @throws {SwarmError} if the store cannot be used
   */
  static async create(id: string, store: RunStore, state: RunState): Promise<StoredRun> {
    return new StoredRun(id, store, await store.create(keyOf(id), encode(state)))
  }

  /**
   * Reads the state of a run.
   *
   * @throws {SwarmError} if there is none, or the store cannot be used
   */
  static async open(id: string, store: RunStore): Promise<{ run: StoredRun; state: RunState }> {
    const found = await store.get(keyOf(id))
    if (found === undefined) {
      throw new SwarmError(
        `there is no such run in the ${store.name}: it has ended, it is older than a day, or its id is another one`
      )
    }
    return { run: new StoredRun(id, store, found.revision), state: decode(found.value, store.name) }
  }

  /**
   * Stores the state after one more pulse.
   *
   * @throws {SwarmError} if another process has taken the run over, or the store cannot be used
   */
  async put(state: RunState): Promise<void> {
    this.#revision = await this.#store.update(keyOf(this.id), encode(state), this.#revision)
  }

  /** Removes the state, unless another process has taken the run over. */
  async delete(): Promise<void> {
    await this.#store.delete(keyOf(this.id), this.#revision)
  }
}

function encode(state: RunState): Uint8Array {
  return Buffer.from(JSON.stringify(state))
}

function decode(value: Uint8Array, name: string): RunState {
  let parsed: unknown
  try {
    parsed = JSON.parse(Buffer.from(value).toString())
  } catch {
    throw new SwarmError(`the state of the run in the ${name} is not JSON: another program has written it`)
  }
  const result = stateSchema.safeParse(parsed)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new SwarmError(
    `the state of the run in the ${name} is not valid (${issue?.path.join('.')}: ${issue?.message}): ` +
      'resume it with the version of ebb that began it'
  )
}
