import { setTimeout as wait } from 'node:timers/promises'

/**
 * Waits for `ms` milliseconds, or until the signal is aborted. Never rejects.
 *
 * A timer cannot wait longer than 24.8 days. The longest time of a plan is a week.
 */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (ms === 0 || signal?.aborted) return
  await wait(ms, undefined, signal === undefined ? {} : { signal }).catch(() => {})
}
