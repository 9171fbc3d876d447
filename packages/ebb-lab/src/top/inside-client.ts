/** What a process with `ebb/auto` says about its releases and its connections. */
import { askInside } from 'ebb/memory'
import type { InsideSample } from './sample.js'

/**
 * Asks a process for the counters of its governor and its servers.
 *
 * @throws EbbError as `askInside()` does
 */
export async function askGovernor(pid: number): Promise<InsideSample> {
  const { governor, servers } = await askInside(pid, { ask: 'counters' })
  const counts = servers.length === 0 ? null : servers
  return {
    released: governor?.returned ?? 0,
    releases: Object.values(governor?.releases ?? {}).reduce((sum, count) => sum + count, 0),
    longestPause: governor?.longestPause ?? 0,
    parked: counts?.reduce((sum, { parked }) => sum + parked, 0) ?? null,
    awake: counts?.reduce((sum, { awake }) => sum + awake, 0) ?? null
  }
}
