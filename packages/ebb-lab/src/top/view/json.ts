/** A sample as JSON. `docs/reference/json.md` documents the shape. */

import type { BoxSample } from '../sample.js'
import { rowsOf, type View } from './rows.js'

/** A sample with the version of its shape. Servers are sorted and filtered. */
export interface BoxJson extends BoxSample {
  /** Increases when a field is taken away or gets another meaning. */
  version: 1
}

/** Returns a sample as it is printed by `ebb top --json`. */
export function toJson(sample: BoxSample, view: View): BoxJson {
  const byId = new Map(sample.servers.map((server) => [server.id, server]))
  const servers = rowsOf(sample, { ...view, expanded: new Set() }).flatMap(({ id }) => byId.get(id) ?? [])
  return { version: 1, ...sample, servers }
}
