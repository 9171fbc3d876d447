/** `ebb run --keeper-only`: keepers for processes that something else starts, such as another container of a pod. */
import { join } from 'node:path'
import { notify } from '../sys/notify.js'
import { reactor } from '../sys/reactor.js'
import { makeFolder } from './folder.js'
import { Keeper } from './keeper.js'

/**
 * Keeps connections until this process gets SIGTERM, SIGINT or SIGQUIT. Process `n` has `EBB_KEEPER=DIR/keeper-n.sock`
 * and `EBB_HANDOVER=DIR/handover-n.sock`.
 *
 * @param dir folder of the sockets; it is made if it is missing
 * @param log prints a line
 * @throws {SystemError} if a socket cannot be made
 */
export async function runKeepers(dir: string, procs: number, log: (text: string) => void): Promise<void> {
  makeFolder(dir)
  const keepers = Array.from({ length: procs }, (_, index) => {
    const path = (name: string): string => join(dir, `${name}-${index + 1}.sock`)
    return new Keeper(path('keeper'), path('handover'), (text) => log(`ERR_EBB_RUN_KEEPER: ${text}`))
  })
  reactor().ref()
  log(`keeping the connections of ${procs === 1 ? 'one process' : `${procs} processes`} in ${dir}`)
  notify('READY=1')
  const signal = await new Promise((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const) process.once(name, resolve)
  })
  log(`${signal}: ending`)
  for (const keeper of keepers) keeper.close()
  reactor().unref()
}
