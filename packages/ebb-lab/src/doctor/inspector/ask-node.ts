/** Asks a process of Node for its inside: at its inside socket, or through its inspector. */
import { askInside } from 'ebb/memory'
import { codeOf } from '../../units/errors.js'
import type { NodeAnswer } from './answer.js'
import { askInspector } from './ask-inspector.js'

/** Options of {@link askNode}. */
export interface AskNodeOptions {
  /**
   * Whether to ask a process without an inside socket through its inspector. That sends it SIGUSR1, which opens a port
   * on 127.0.0.1 for a moment, and prints lines on its standard error. Default: false.
   */
  inspect?: boolean
  /** Whether to make it release memory. Through the inspector, this loads `ebb/memory` into it. Default: false. */
  release?: boolean
  /** Milliseconds after which there is no answer. Default: 10,000. */
  timeout?: number
}

const TIMEOUT = 10_000

/**
 * Asks a process of Node for its inside, and makes it release memory if that is asked for.
 *
 * @throws EbbError of `askInside()`, such as `ERR_EBB_NO_INSIDE` without `inspect`
 * @throws DoctorError with `inspect`: `EPERM`, `ERR_EBB_NOT_NODE`, `ERR_EBB_INSPECT_NAMESPACE`,
 *   `ERR_EBB_INSPECT_SIGNAL`, `ERR_EBB_INSPECT_STOPPED`, `ERR_EBB_INSPECT_BUSY` or `ERR_EBB_INSPECT_FAILED`
 */
export async function askNode(pid: number, options: AskNodeOptions = {}): Promise<NodeAnswer> {
  const { inspect = false, release = false, timeout = TIMEOUT } = options
  try {
    const inside = await askInside(pid, { timeout })
    const released = release ? await askInside(pid, { ask: 'release', timeout: Math.max(timeout, TIMEOUT) }) : null
    return { route: 'socket', inside, released, notes: [] }
  } catch (error) {
    if (!inspect || codeOf(error) !== 'ERR_EBB_NO_INSIDE') throw error
  }
  return { route: 'inspector', ...(await askInspector(pid, release, timeout)) }
}
