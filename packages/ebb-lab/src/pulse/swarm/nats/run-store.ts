/**
 * The states of runs in a key-value bucket of JetStream, as NATS's own tools see it: `nats kv ls ebb-NAME`. A bucket is
 * a stream with a subject for each key: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-8.md
 */
import { errors, headers, type NatsConnection } from '@nats-io/transport-node'
import { z } from 'zod'
import { RevisionError, SwarmError } from '../errors.js'
import type { RunStore } from '../run-store.js'
import { checkSwarmName } from '../subjects.js'
import { connectNats } from './connect.js'
import type { NatsOptions } from './options.js'

/** Time after which a state expires, in hours. */
const EXPIRES = 24
/** Maximum size of a state in bytes. NATS itself accepts messages of 1 MB by default. */
const MAX_STATE = 1_000_000
/** Maximum size of all states of a swarm in bytes. */
const MAX_BUCKET = 64 * MAX_STATE
/** Time for JetStream to answer, ms. */
const TIMEOUT = 2000

/** Codes of JetStream's errors, which its `errors.json` lists. */
const NO_MESSAGE = 10_037
const NOT_ENABLED = new Set([10_039, 10_076])
const OTHER_CONFIGURATION = 10_058
const WRONG_REVISION = 10_071

const replySchema = z.object({
  error: z.object({ err_code: z.number().default(0), description: z.string().default('no reason given') }).optional(),
  /** Sequence number of a stored message. */
  seq: z.number().int().optional(),
  /** A message that was asked for. */
  message: z.object({ seq: z.number().int(), data: z.string().default(''), hdrs: z.string().optional() }).optional()
})

type Reply = z.infer<typeof replySchema>

/** Stores states in the bucket `ebb-NAME`. It has a NATS connection of its own. */
export class NatsRunStore implements RunStore {
  readonly name: string
  readonly #connection: NatsConnection
  readonly #bucket: string

  private constructor(connection: NatsConnection, bucket: string) {
    this.#connection = connection
    this.#bucket = bucket
    this.name = `bucket ${bucket} of NATS at ${connection.getServer()}`
  }

  /**
   * Opens the bucket of a swarm, and creates it if it does not exist. Returns undefined if the server has no JetStream.
   *
   * @throws {NatsError} if the options are not valid, or the server cannot be reached or refuses the user
   * @throws {SwarmError} if the user may not use the bucket
   */
  static async open(options: NatsOptions, swarm: string): Promise<NatsRunStore | undefined> {
    const bucket = `ebb-${checkSwarmName(swarm)}`
    const store = new NatsRunStore(await connectNats(options), bucket)
    try {
      if (await store.#createBucket()) return store
    } catch (error) {
      await store.close()
      throw error
    }
    await store.close()
    return undefined
  }

  async create(key: string, value: Uint8Array): Promise<number> {
    return await this.update(key, value, 0)
  }

  async get(key: string): Promise<{ value: Uint8Array; revision: number } | undefined> {
    const query = { last_by_subj: this.#subject(key) }
    const { error, message } = await this.#request(`$JS.API.STREAM.MSG.GET.KV_${this.#bucket}`, encode(query))
    if (error?.err_code === NO_MESSAGE) return undefined
    if (error !== undefined || message === undefined) throw this.#failed(error?.description ?? 'it sends no message')
    // A removed key has a message with a header and without a value.
    if (message.hdrs !== undefined && message.data === '') return undefined
    return { value: Buffer.from(message.data, 'base64'), revision: message.seq }
  }

  async update(key: string, value: Uint8Array, revision: number): Promise<number> {
    const { error, seq } = await this.#put(key, value, revision, {})
    if (error?.err_code === WRONG_REVISION) throw new RevisionError(this.name)
    if (error !== undefined || seq === undefined) throw this.#failed(error?.description ?? 'it does not acknowledge')
    return seq
  }

  async delete(key: string, revision: number): Promise<void> {
    await this.#put(key, Buffer.alloc(0), revision, { 'KV-Operation': 'PURGE', 'Nats-Rollup': 'sub' }).catch(() => {})
  }

  async close(): Promise<void> {
    await this.#connection.close()
  }

  /** Creates the bucket. Returns false if the server has no JetStream. */
  async #createBucket(): Promise<boolean> {
    const name = `KV_${this.#bucket}`
    const nanoseconds = 1e9
    const configuration = {
      name,
      description: 'states of runs of ebb pulse',
      subjects: [this.#subject('>')],
      retention: 'limits',
      storage: 'file',
      discard: 'new',
      num_replicas: 1,
      max_msgs_per_subject: 1,
      max_age: EXPIRES * 3600 * nanoseconds,
      max_bytes: MAX_BUCKET,
      max_msg_size: MAX_STATE,
      deny_delete: true,
      allow_rollup_hdrs: true,
      allow_direct: true
    }
    let reply: Reply
    try {
      reply = await this.#request(`$JS.API.STREAM.CREATE.${name}`, encode(configuration))
    } catch (error) {
      if (error instanceof SwarmError && isNoResponders(error.cause)) return false
      throw error
    }
    const { error } = reply
    if (error === undefined || error.err_code === OTHER_CONFIGURATION) return true
    if (NOT_ENABLED.has(error.err_code)) return false
    throw this.#failed(error.description)
  }

  #subject(key: string): string {
    return `$KV.${this.#bucket}.${key}`
  }

  async #put(key: string, value: Uint8Array, revision: number, more: Record<string, string>): Promise<Reply> {
    const head = headers()
    head.set('Nats-Expected-Last-Subject-Sequence', String(revision))
    for (const [name, text] of Object.entries(more)) head.set(name, text)
    return await this.#request(this.#subject(key), value, head)
  }

  async #request(subject: string, payload: Uint8Array, head?: ReturnType<typeof headers>): Promise<Reply> {
    try {
      const options = head === undefined ? { timeout: TIMEOUT } : { timeout: TIMEOUT, headers: head }
      const { data } = await this.#connection.request(subject, payload, options)
      return replySchema.parse(JSON.parse(Buffer.from(data).toString()))
    } catch (error) {
      throw this.#failed((error as Error).message, error)
    }
  }

  #failed(why: string, cause?: unknown): SwarmError {
    const bucket = this.#bucket
    const refused = cause instanceof Error && cause.cause instanceof errors.PermissionViolationError
    const api = '$JS.API.STREAM'
    const subjects = `${api}.CREATE.KV_${bucket}, ${api}.MSG.GET.KV_${bucket}, $KV.${bucket}.> and _INBOX.>`
    const advice = refused ? `allow the user the subjects ${subjects}` : 'look at the server and its JetStream storage'
    return new SwarmError(`cannot use the ${this.name}: ${why}; ${advice}`, { cause })
  }
}

function encode(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value))
}

function isNoResponders(error: unknown): boolean {
  return error instanceof errors.NoRespondersError || (error instanceof errors.RequestError && error.isNoResponders())
}
