/** Calls `handover()` with a listener in a worker thread, or in a worker of a cluster, and prints how it is refused. */
import cluster from 'node:cluster'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'

const [, file, kind, path] = process.argv

if (cluster.isPrimary && isMainThread) {
  const worker = kind === 'thread' ? new Worker(file, { argv: [kind, path] }) : cluster.fork()
  worker.on('message', (said) => {
    console.log(said)
    process.exit()
  })
} else {
  const { createListener } = await import('ebb')
  const { handover } = await import('ebb/handover')
  const said = await handover(createListener(), { path, listen: { port: 0 } }).then(
    () => 'not refused',
    ({ code, message }) => `${code}: ${message}`
  )
  if (kind === 'thread') parentPort.postMessage(said)
  else process.send(said)
}
