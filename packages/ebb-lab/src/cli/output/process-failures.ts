/** What a command does about failures that no function call reports. */
import { codeOf, LabError, reasonOf } from '../../units/errors.js'
import { EXIT } from './exit-codes.js'
import { fail } from './failure.js'

/** Reports failures of standard output, and uncaught exceptions, which end the process. */
export function reportProcessFailures(): void {
  let reported = false
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // A closed pipe (`ebb report x | head -1`) is not an error. Any other error, such as a full disk, is reported once.
    if (error.code === 'EPIPE' || reported) return
    reported = true
    const text = `cannot write to standard output: ${reasonOf(error)}`
    fail(new LabError(text, codeOf(error), error.syscall, error))
  })
  process.on('uncaughtException', (error) => {
    fail(error)
    process.exit(EXIT.wrong)
  })
}
