/** Whether this machine can make connections at all. */
import { lackOfReactor } from 'ebb/sys'
import { LabError } from '../units/errors.js'

/**
 * Checks that connections can be made from this process, which takes Linux and koffi.
 *
 * @param lost what is not possible without them, the beginning of the message
 * @param remedy what to do instead, its end
 * @throws LabError (`ERR_EBB_UNSUPPORTED`) if they cannot
 */
export function checkKernel(lost: string, remedy: string): void {
  const lack = lackOfReactor()
  if (lack !== undefined) throw new LabError(`${lost}: ${lack}; ${remedy}`, 'ERR_EBB_UNSUPPORTED')
}
