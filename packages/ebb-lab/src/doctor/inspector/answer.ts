/** What a process of Node answers. */
import type { Inside, InsideRelease } from 'ebb/memory'

/** What Node itself reports of a process. The other fields of the inside are undefined if ebb is not in the process. */
export type NodeInside = Pick<Inside, 'pid' | 'runtime' | 'uptime' | 'heap' | 'handles'> & Partial<Inside>

/** The answer of {@link askNode}. */
export interface NodeAnswer {
  /** How the process was asked. */
  route: 'socket' | 'inspector'
  /** The inside of the process, before a release. */
  inside: NodeInside
  /** The figures of the release that was asked for; null if none was. */
  released: InsideRelease | null
  /** Remarks, one sentence each: what was opened in the process, and whether it is closed. */
  notes: string[]
}
