/* Variables of the environment that this program and its ports read. */
#ifndef VARIABLES_H
#define VARIABLES_H

/* Warns on standard error of each that begins with DSV3_, is none of them, and is near one: nobody may read it. Others may be those
 * of somebody's port. Lines begin with the program. */
void variables_warn(const char *program);

#endif
