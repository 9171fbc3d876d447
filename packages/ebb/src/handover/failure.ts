/** Why a handover has failed, in a sentence. */
import { ETOOMANYREFS } from '../sys/constants.js'
import { EbbError, type SystemError } from '../sys/errors.js'

/**
 * Makes the error of a handover from that of its channel.
 *
 * @param timeout how long (ms) the successor had
 */
export function asFailure(error: SystemError, timeout: number): Error {
  if (error.code === 'ETIMEDOUT') {
    return new EbbError('ERR_EBB_HANDOVER', `the successor has not taken over within ${timeout} ms (timeout)`, error)
  }
  if (error.errno === -ETOOMANYREFS) {
    const text = 'more descriptors of this user are on their way between processes than this process may open'
    return new EbbError('ERR_EBB_HANDOVER', `${text}: try again, or raise its limit (ulimit -n)`, error)
  }
  if (error.code !== 'EPIPE' && error.code !== 'ECONNRESET') return error
  return new EbbError('ERR_EBB_HANDOVER', 'the successor has ended before it took over', error)
}
