/** The error classes of the package, and the words for what the operating system refused. */
import type { ErrorCode } from './error-codes.js'

declare const foreign: unique symbol
/** A code that somebody else put on an error: an errno (`ENOSPC`), or a code of Node's (`ERR_SOCKET_BAD_PORT`). */
export type ForeignCode = string & { readonly [foreign]: true }

/**
 * The base class of every error that the laboratory throws on purpose. The message is one sentence: what failed, on
 * what, and what to do. `docs/errors.md` lists every code.
 *
 * Errors have the shape of Node's own: `code`, `syscall` if the operating system refused, and `cause`.
 */
export class LabError extends Error {
  override readonly name: string = 'LabError'
  /** A code of `ERROR_CODES`, or the errno of a failed system call (`ENOENT`). */
  readonly code: string
  /** The system call or the operation that failed; undefined if none did. */
  readonly syscall: string | undefined

  /**
   * @param message what failed, on what, and what to do
   * @param code a code of `ERROR_CODES`, or the code of the error that this one explains
   * @param syscall the system call that failed
   * @param cause the error that this one explains
   */
  constructor(message: string, code: ErrorCode | ForeignCode, syscall?: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.syscall = syscall
  }
}

/** A server cannot be started, found or recorded, or a recording cannot be read or written. */
export class RecordError extends LabError {
  override readonly name = 'RecordError'
}

/** A process cannot be examined. */
export class DoctorError extends LabError {
  override readonly name = 'DoctorError'
}

/** A report cannot be made from the recordings, or its files cannot be written. */
export class ReportError extends LabError {
  override readonly name = 'ReportError'
}

/** Reasons for an errno, as somebody who gave a path or an address understands them. */
const REASONS: Record<string, string> = {
  EACCES: 'permission denied',
  EAI_AGAIN: 'the name server did not answer',
  ECONNREFUSED: 'no process listens there',
  ECONNRESET: 'the connection was closed at the other end',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file has reached the largest size allowed here',
  EHOSTUNREACH: 'no route leads there',
  EISDIR: 'it is a directory',
  EMFILE: 'this process has no file descriptor left',
  ENAMETOOLONG: 'the name is too long',
  ENFILE: 'the machine has no file descriptor left',
  ENETUNREACH: 'no route leads there',
  ENOENT: 'no such file or directory',
  ENOSPC: 'no space left on the device',
  ENOTDIR: 'a part of the path is not a directory',
  ENOTFOUND: 'no address is known for the host',
  ENXIO: 'no process has the other end of the pipe open',
  EPERM: 'permission denied',
  EPIPE: 'the process at the other end of the pipe has closed it',
  EROFS: 'the file system is read-only'
}

/** Returns the `code` of a thrown value, or `UNKNOWN` if it has none. */
export function codeOf(error: unknown): ErrorCode | ForeignCode {
  const { code } = (error ?? {}) as { code?: ForeignCode }
  return code ?? 'UNKNOWN'
}

/** Returns the reason of a failure for the end of a sentence: `permission denied (EACCES)`. */
export function reasonOf(error: unknown): string {
  const code = codeOf(error)
  const reason = REASONS[code]
  if (reason !== undefined) return `${reason} (${code})`
  // Node's own sentence names the call and the path as well: "EIO: i/o error, read '/x'".
  const [, said] = /^[A-Z0-9]+: ([^,]+), \w+/.exec(messageOf(error)) ?? []
  return said === undefined ? messageOf(error) : `${said} (${code})`
}

/** Returns the message of a thrown value, whatever it is. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
