/** What a person is told when something goes wrong: one sentence on standard error, and an exit code. */
import type { Terminal } from './terminal.js'

/** Exit codes of every command. */
export const EXIT = {
  /** Bad input, or something that the run needs is not there. */
  wrong: 1,
  /** The run went to its end, and connections failed or were lost. */
  failures: 2,
  /** A limit (`--max-...`) was broken. */
  broken: 3,
  /** An agent of the swarm was lost: there were fewer connections than planned. */
  degraded: 4,
  /** Ctrl-C before there was a result. */
  interrupted: 130
} as const

/** Tells what went wrong, and sets the exit code. The stack only where `DEBUG` asks for it. */
export function fail(error: unknown): void {
  const { DEBUG } = process.env
  const detail = DEBUG !== undefined && DEBUG !== '' && error instanceof Error ? `\n${error.stack}` : ''
  process.stderr.write(`ebb: ${sentence(error)}${detail}\n`)
  process.exitCode = EXIT.wrong
}

/** Tells of a run that `signal` has ended before there was a result, and sets the exit code. Throws what ended it where it was something else. */
export function tellInterrupted(error: unknown, signal: AbortSignal, terminal: Terminal): void {
  if (!signal.aborted) throw error
  terminal.line('interrupted')
  process.exitCode = EXIT.interrupted
}

interface Reported extends NodeJS.ErrnoException {
  hostname?: string
  issues?: { path: PropertyKey[]; message: string }[]
}

function sentence(error: unknown): string {
  const { code, hostname, message, issues } = error as Reported
  // zod's, by its shape: loading zod to ask would cost the server that is measured.
  const issue = issues?.[0]
  if (issue !== undefined) return `${issue.path.join('.')}: ${issue.message}`
  if (code === 'ENOTFOUND' && hostname !== undefined) {
    return `no address is known for the host ${JSON.stringify(hostname)}: check its spelling, or give an IP address`
  }
  if (code === 'EAI_AGAIN' && hostname !== undefined) {
    return `the host ${JSON.stringify(hostname)} cannot be looked up now: check the network, or give an IP address`
  }
  return message ?? String(error)
}
