/** Connects to NATS. The NATS client is loaded only when one of these functions is called. */
import type { Bus } from '../bus.js'
import type { RunStore } from '../run-store.js'
import type { NatsOptions } from './options.js'

/**
 * Connects to NATS and returns the bus. The connection is restored by itself when it is lost.
 *
 * @throws {NatsError} if the options are not valid, or the server cannot be reached or refuses the user
 */
export async function natsBus(options: NatsOptions): Promise<Bus> {
  const { NatsBus } = await import('./bus.js')
  return await NatsBus.connect(options)
}

/**
 * Opens the bucket with the states of a swarm's runs. Returns undefined if the server has no JetStream.
 *
 * @throws {NatsError} if the options are not valid, or the server cannot be reached or refuses the user
 * @throws {SwarmError} if the bucket cannot be used
 */
export async function natsRunStore(options: NatsOptions, swarm: string): Promise<RunStore | undefined> {
  const { NatsRunStore } = await import('./run-store.js')
  return await NatsRunStore.open(options, swarm)
}
