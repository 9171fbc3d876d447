/** `natsBus()`: the bus over NATS, whose client is loaded when somebody asks for it. */
import type { Bus } from '../bus.js'
import type { NatsOptions } from './options.js'

/** @throws {NatsError} a sentence on what is wrong */
export async function natsBus(options: NatsOptions): Promise<Bus> {
  const { NatsBus } = await import('./bus.js')
  return await NatsBus.connect(options)
}
