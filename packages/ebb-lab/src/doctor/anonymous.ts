/** The anonymous memory of a process, as the trend and a release count it. */
import type { ProcessView } from 'ebb/memory'

/** Returns anonymous memory, resident and in swap: what the kernel moves to swap is not released. */
export function anonymousOf(view: Pick<ProcessView, 'status'>): number {
  const { anonymous, swapped } = view.status()
  return anonymous + swapped
}
