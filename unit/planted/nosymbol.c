/* A shared object that is no port. */
int nosymbol(void);

int nosymbol(void)
{
    return 0;
}
