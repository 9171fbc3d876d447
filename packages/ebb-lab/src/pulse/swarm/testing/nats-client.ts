/**
 * NATS's own client and its service protocol, for tests that observe a swarm from outside.
 *
 * The types are this file's own: those of `@nats-io` do not compile with `exactOptionalPropertyTypes`.
 */
import { Svcm } from '@nats-io/services'
import * as nats from '@nats-io/transport-node'

/** A connection to a NATS server. */
export interface Connection {
  close(): Promise<void>
  subscribe(subject: string, options: { callback(error: Error | null, message: { subject: string }): void }): unknown
  publish(subject: string, payload?: string | Uint8Array): void
  request(subject: string, payload?: string): Promise<{ json<T>(): T }>
}

/** A service as it answers to a ping. */
export interface Identity {
  name: string
  id: string
  version: string
  metadata?: Record<string, string>
}

/** A service as it describes itself. */
export interface Info extends Identity {
  endpoints: { name: string; subject: string }[]
}

/** Figures of a service. */
export interface Statistics extends Identity {
  endpoints?: { name: string; num_errors: number; data?: unknown }[]
}

/** Finds services by name. */
export interface ServiceClient {
  ping(name: string): Promise<AsyncIterable<Identity>>
  info(name: string): Promise<AsyncIterable<Info>>
  stats(name: string): Promise<AsyncIterable<Statistics>>
}

/** The service protocol on a connection. */
export interface Services {
  client(): ServiceClient
  add(service: { name: string; version: string; metadata?: Record<string, string> }): Promise<unknown>
}

/** A pair of keys that signs. */
export interface KeyPair {
  getSeed(): Uint8Array
  getPublicKey(): string
  sign(bytes: Uint8Array): Uint8Array
}

/** Connects to a server. */
export const connect: (options: { servers: string }) => Promise<Connection> = nats.connect

/** Returns the service protocol on a connection. The cast is explained in `NatsBus`. */
export function services(connection: Connection): Services {
  return new Svcm(connection as unknown as ConstructorParameters<typeof Svcm>[0])
}

/** Returns how many values a key-value bucket has, and how many consumers. */
export async function bucket(connection: Connection, name: string): Promise<{ states: number; consumers: number }> {
  // Removed keys are messages too, without bytes of their own.
  const query = JSON.stringify({ subjects_filter: '>' })
  const info = (await connection.request(`$JS.API.STREAM.INFO.KV_${name}`, query)).json<{
    state: { consumer_count: number; subjects?: Record<string, number> }
  }>()
  let states = 0
  for (const subject of Object.keys(info.state.subjects ?? {})) {
    const last = JSON.stringify({ last_by_subj: subject })
    const reply = (await connection.request(`$JS.API.STREAM.MSG.GET.KV_${name}`, last)).json<{
      message?: { data?: string }
    }>()
    if (reply.message?.data !== undefined) states++
  }
  return { states, consumers: info.state.consumer_count }
}

/** Makes pairs of keys. */
export const nkeys: Record<'createUser' | 'createOperator' | 'createAccount', () => KeyPair> = nats.nkeys
