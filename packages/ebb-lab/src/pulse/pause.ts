import { setTimeout as wait } from 'node:timers/promises'

/** Waits `ms`, up to 24.8 days (a plan's longest time is a week), or until the signal is given. Never rejects. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (ms === 0 || signal?.aborted) return
  await wait(ms, undefined, signal === undefined ? {} : { signal }).catch(() => {})
}
