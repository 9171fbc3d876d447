/** NATS's own client and its service protocol, for tests that observe a swarm from outside. */
import { Svcm } from '@nats-io/services'
import type { NatsConnection } from '@nats-io/transport-node'

export { connect, nkeys } from '@nats-io/transport-node'

/** Returns the service protocol on a connection. The cast is explained in `NatsBus`. */
export function services(connection: NatsConnection): Svcm {
  return new Svcm(connection as unknown as ConstructorParameters<typeof Svcm>[0])
}
