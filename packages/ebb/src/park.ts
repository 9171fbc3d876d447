/**
 * `ebb/park`: parks the idle connections of the servers of a program that need not know of it.
 *
 * ```sh
 * node --import ebb/park app.js
 * node -r ebb/park app.js
 * NODE_OPTIONS='--import ebb/park' npm start
 * ```
 *
 * | variable | meaning | value | default |
 * |---|---|---|---|
 * | `EBB_PARK_HTTP` | servers of `http` and `https` that are parked | `all`, `none`, or ports: `3000,8080` | all |
 * | `EBB_PARK_WS` | servers of `http` whose WebSockets are parked | as above | all |
 * | `EBB_PARK_NET` | servers of `net` and `tls` that are parked, until the first byte | as above | none |
 * | `EBB_PARK_IDLE` | time without a byte before HTTP and WebSockets are parked | ms, or a time such as `5s` | 1000 |
 * | `EBB_PARK_DEFLATE` | whether WebSockets are compressed without context takeover | 1 or 0 | 0 |
 * | `EBB_PARK_CARRY` | properties of HTTP sockets that survive sleep | names such as `user,session` | none |
 * | `EBB_PARK_GIVE_BACK` | whether to release memory when many connections were parked or closed | 1 or 0 | 1 |
 * | `EBB_PARK_LOG` | whether to print a line for each server that is parked | 1 or 0 | 1 |
 *
 * An invalid value ends the process with exit code 1.
 */
import { createRequire } from 'node:module'
import type * as Servers from './preload/servers.js'
import { parkFromEnvironment } from './preload/start.js'

// The library is loaded when the first server begins to listen. `NODE_OPTIONS` is for every process, and most of them
// have no server.
parkFromEnvironment(process.env, (loaded, failed) => {
  const servers = requireServers()
  if (servers !== undefined) loaded(servers)
  else import('./preload/servers.js').then(loaded).catch(failed)
})

/** Loads the library at once; undefined in a bundle, where it is no file of its own: there `import()` finds it. */
function requireServers(): typeof Servers | undefined {
  try {
    return createRequire(import.meta.url)('./preload/servers.js') as typeof Servers
  } catch {
    return undefined
  }
}
