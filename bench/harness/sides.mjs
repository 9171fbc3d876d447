/** The sides of a comparison: each is a server and a crowd of clients in processes of their own. */

/** Flags for Node that measured servers are started with: `EBB_BENCH_EXEC_ARGV`, for instance `--cpu-prof`. */
export const execArgv = (process.env.EBB_BENCH_EXEC_ARGV ?? '').split(' ').filter(Boolean)

/**
 * Starts both sides, calls `work`, and ends them.
 *
 * @template {{ end: () => Promise<unknown> }} S
 * @template R
 * @param {() => Promise<S>} startEbb
 * @param {() => Promise<S>} startOther
 * @param {(ebb: S, other: S) => Promise<R>} work
 * @returns {Promise<R>}
 */
export async function withBoth(startEbb, startOther, work) {
  const started = []
  try {
    const ebb = await startEbb()
    started.push(ebb)
    const other = await startOther()
    started.push(other)
    return await work(ebb, other)
  } finally {
    for (const side of started) await side.end()
  }
}
