/** Why there is no report, in one sentence. Node-style: `code`, and `syscall` where the system refused. */
export class ReportError extends Error {
  override readonly name = 'ReportError'
  readonly code: string
  readonly syscall: string | undefined

  constructor(message: string, code: string, syscall?: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.syscall = syscall
  }
}
