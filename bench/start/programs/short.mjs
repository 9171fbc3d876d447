/** Prints the CPU time, ms, that the process has used when it ends: after the ms of its argument. */
process.on('exit', () => {
  const { user, system } = process.cpuUsage()
  process.stdout.write(String((user + system) / 1000))
})
const ms = Number(process.argv[2])
if (ms > 0) setTimeout(() => {}, ms)
