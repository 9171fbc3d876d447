/** Prints an error as one sentence on standard error, and sets the exit code. */
import { LabError } from '../../units/errors.js'
import { EXIT } from './exit-codes.js'
import type { Terminal } from './terminal.js'

/** Prints `ebb: CODE: sentence` on standard error and sets exit code 1. The stack trace follows if `DEBUG` is set. */
export function fail(error: unknown): void {
  const { DEBUG } = process.env
  const stack = DEBUG !== undefined && DEBUG !== '' && error instanceof Error ? `\n${error.stack}` : ''
  process.stderr.write(`ebb: ${sentenceOf(error)}${stack}\n`)
  process.exitCode = EXIT.wrong
}

/**
 * Prints that a run was interrupted before it had a result, and sets exit code 130.
 *
 * @param recording path of the recording that was cut off, if there is one
 * @throws `error` if `signal` has not ended the run
 */
export function tellInterrupted(error: unknown, signal: AbortSignal, terminal: Terminal, recording?: string): void {
  if (!signal.aborted) throw error
  const kept = recording === undefined ? '' : `; what was recorded is in ${recording}, which ebb report reads`
  terminal.line(`interrupted${kept}`)
  // Standard output could not be written to: that was printed as an error.
  if (process.exitCode !== EXIT.wrong) process.exitCode = EXIT.interrupted
}

/** The fields of an error that decide how it is printed: those of Node's errors, and the `issues` of zod's. */
interface Reported extends NodeJS.ErrnoException {
  hostname?: string
  issues?: { path: PropertyKey[]; message: string }[]
}

function sentenceOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { name, code, hostname, message, issues } = error as Reported
  // By its name, because loading zod would add to the memory of `ebb serve`, which is what gets measured.
  const issue = name === 'ZodError' ? issues?.[0] : undefined
  if (issue !== undefined) return `${issue.path.join('.')}: ${issue.message}`
  const host = JSON.stringify(hostname)
  switch (code) {
    case undefined:
      return isDefect(error)
        ? `${message}; this is a defect of ebb, please report it with the stack trace that DEBUG=1 prints`
        : message
    // What a person typed is wrong: the sentence names the option, and the code would add nothing.
    case 'ERR_INVALID_ARG_VALUE':
      return message
    case 'ENOTFOUND':
      if (hostname === undefined) break
      return `${code}: no address is known for the host ${host}: check its spelling, or give an IP address`
    case 'EAI_AGAIN':
      if (hostname === undefined) break
      return `${code}: the name server did not answer for the host ${host}: check the network, or give an IP address`
  }
  // The messages of Node's file system begin with the code already, and some of ours end with it.
  const text = message.startsWith(`${code}: `) ? message : `${code}: ${message.replace(` (${code})`, '')}`
  return code === 'EMFILE' && !(error instanceof LabError) ? `${text}: raise the descriptor limit (ulimit -n)` : text
}

/** Whether an error comes from a mistake in the program, not from its input or its environment. */
function isDefect(error: Error): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError
}
