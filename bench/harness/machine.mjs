import { cpus, release, totalmem, type } from 'node:os'

/** Describes this machine in one phrase: processor, cores, memory, kernel. */
export function machine() {
  const model = cpus()[0]?.model ?? 'unknown processor'
  const memory = Math.round(totalmem() / 2 ** 30)
  return `${model.replace(/\s+/g, ' ').trim()}, ${cpus().length} cores, ${memory} GiB, ${type()} ${release()}`
}
