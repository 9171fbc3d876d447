/** `natsBus()` connects to NATS. The NATS client is loaded only when this function is called. */
import type { Bus } from '../bus.js'
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
