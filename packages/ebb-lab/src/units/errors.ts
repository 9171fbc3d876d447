/** What went wrong in this room, in one sentence. Node-style: `code`, and `syscall` where the system refused. */
export class RecordError extends Error {
  override readonly name = 'RecordError'
  readonly code: string
  readonly syscall: string | undefined

  constructor(message: string, code: string, syscall?: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.syscall = syscall
  }
}

/** In the words of somebody who gave a path. */
const REASONS: Record<string, string> = {
  EACCES: 'permission denied',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file is as large as files may become here',
  EISDIR: 'it is a directory',
  EMFILE: 'this process has no file descriptor left',
  ENFILE: 'the machine has no file descriptor left',
  ENOENT: 'no such file or directory',
  ENOSPC: 'no space left on the device',
  ENOTDIR: 'a part of the path is not a directory',
  ENXIO: 'nobody reads the other end of the pipe',
  EPERM: 'permission denied',
  EPIPE: 'the reader at the other end of the pipe has gone',
  EROFS: 'the file system is read-only'
}

/** The error code of what was thrown, or `UNKNOWN`. */
export function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException | null | undefined)?.code ?? 'UNKNOWN'
}

/** Why it failed, for the end of a sentence: `permission denied (EACCES)`. */
export function reasonOf(error: unknown): string {
  const code = codeOf(error)
  const reason = REASONS[code]
  return reason === undefined ? messageOf(error) : `${reason} (${code})`
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
