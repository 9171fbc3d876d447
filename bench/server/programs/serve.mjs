/** What every measured server does beside serving: it listens on a free port, and tells what it holds and has used. */
import { once } from 'node:events'
import { ownAnonymous, release } from 'ebb/memory'
import { answer } from '../../harness/answer.mjs'

export const HOST = '127.0.0.1'

/** `orders`: those of this server alone. */
export async function serve(server, orders = {}) {
  server.listen({ port: 0, host: HOST, backlog: 4096 })
  await once(server, 'listening')
  tell(server.address().port, { stats: () => server.stats(), ...orders })
}

/** For a server that listens already. */
export function tell(port, orders = {}) {
  answer(
    {
      /** Bytes. */
      anonymous: () => ownAnonymous(),
      release: () => release(),
      /** User and system time since the start, ms. */
      cpu: () => {
        const { user, system } = process.cpuUsage()
        return (user + system) / 1000
      },
      ...orders
    },
    port
  )
}
